package sim

var readScenarios = []Scenario{}
