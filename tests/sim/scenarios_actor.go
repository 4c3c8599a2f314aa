package sim

var actorScenarios = []Scenario{}
