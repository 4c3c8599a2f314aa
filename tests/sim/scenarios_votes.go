package sim

var voteScenarios, rivalScenarios []Scenario
