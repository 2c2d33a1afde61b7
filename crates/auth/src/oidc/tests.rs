//! Tables: tokens that are believed, tokens that are not, and what is made of what they say.

mod evaluation;
mod forge;
mod identity;
mod tokens;
