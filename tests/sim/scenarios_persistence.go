package sim

var persistenceScenarios = []Scenario{}
