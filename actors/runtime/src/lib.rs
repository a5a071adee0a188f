//! The actor kit: spawn, names, credits, parked replies, the World, supervision, metrics.
