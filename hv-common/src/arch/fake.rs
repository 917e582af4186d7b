//! A scripted architecture on the host: for tests and fuzz bodies.
