"""Loading models: weights, processors, model families and the Hub."""
