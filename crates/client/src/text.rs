//! Text of somebody else, for a terminal or a page.

/// What of `text` can be shown in a terminal: nothing in it may move the cursor, or show the rest in another order.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| is_plain(*c)).collect()
}

/// Whether a character is neither a control character nor one that changes the direction of what is around it.
pub(crate) fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_text_around_is_left_out() {
        assert_eq!(plain("a\x1b[2Jb\r\nc\u{9b}d"), "a[2Jbcd");
        assert_eq!(plain("a\u{200e}b\u{200f}c\u{202a}d\u{202e}e\u{2066}f\u{2069}g\u{61c}h"), "abcdefgh");
        assert_eq!(plain("データベース עברית"), "データベース עברית");
    }
}
