//! What more than one of the suites asks for.

pub(crate) mod answer;
