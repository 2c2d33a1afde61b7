//! Runs every piece so often, and twice as often once more, for whoever counts instructions meanwhile; says which, and how often.
//!
//! `pieces` alone runs all of them, `pieces NAME…` those.

use tokio::runtime::Builder;
use tunnel_benches::pieces;

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    // What a link writes at once goes by how much leaves in a second. Whoever counts instructions makes that little, and another
    // number each time: here no time passes.
    let links = Builder::new_current_thread().enable_all().start_paused(true).build()?;
    for mut piece in pieces::all(links)? {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == piece.name) {
            continue;
        }
        // What is made at the first time only, and what is taken from the last one.
        (0..3).for_each(|_| piece.run());
        piece.counted(piece.times);
        piece.counted(piece.times * 2);
        println!("{}\t{}", piece.name, piece.times);
    }
    Ok(())
}
