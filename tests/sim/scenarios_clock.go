package sim

var clockScenarios []Scenario
