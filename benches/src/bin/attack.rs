//! Floods links, each kind in turn, and prints what that costs whom.
//!
//! `attack` alone runs all of them, `attack WORD…` those that have one of the words in their names.

fn main() -> anyhow::Result<()> {
    tunnel_benches::attack::main(std::env::args().skip(1).collect())
}
