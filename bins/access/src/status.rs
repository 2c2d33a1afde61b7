//! What stands at the end of the terminal while ports are open: from counters to lines.

use console::{Alignment, Style, pad_str, truncate_str};
use tunnel_client::plain;

/// What is written where something was cut off.
const CUT: &str = "…";
/// The columns of the numbers, by their headings, and how wide they are: the longest number, and a space.
const COLUMNS: [(&str, usize); 4] = [("open", 5), ("up", 9), ("down", 9), ("rate", 11)];
/// Columns that a state has at least, where the terminal has so many. Why something failed is said in a line of its own, too.
const STATE_MIN: usize = 8;
/// Columns that the name of a port has at least.
const NAME_MIN: usize = 12;
/// Lines that are no ports: the heading, the sum, and the one at which the cursor stands.
const OTHER_LINES: usize = 3;

/// One local port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Row {
    /// Where it leads, and from where.
    pub(crate) name: String,
    /// Connections now.
    pub(crate) open: usize,
    /// Connections since the beginning.
    pub(crate) total: u64,
    /// Bytes to the service.
    pub(crate) up: u64,
    /// Bytes from the service.
    pub(crate) down: u64,
    /// Bytes in the last second, both ways.
    pub(crate) rate: u64,
    pub(crate) state: State,
}

/// How a port is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody was there yet.
    #[default]
    Ready,
    /// Connections wait for a person.
    Login,
    /// Connections get through.
    Up,
    /// The last one did not: why.
    Failed(String),
}

impl State {
    fn text(&self) -> String {
        match self {
            Self::Ready => "ready".to_owned(),
            Self::Login => "waiting for login".to_owned(),
            Self::Up => "up".to_owned(),
            Self::Failed(reason) => plain(reason),
        }
    }

    fn style(&self) -> Style {
        // Without colours where NO_COLOR says so, and where it is no terminal.
        let style = Style::new().for_stderr();
        match self {
            Self::Ready => style,
            Self::Login => style.yellow(),
            Self::Up => style.green(),
            Self::Failed(_) => style.red(),
        }
    }
}

impl Row {
    fn is_quiet(&self) -> bool {
        self.open == 0 && !matches!(self.state, State::Failed(_) | State::Login)
    }

    fn sum(rows: &[Self]) -> Self {
        let sum = |row: Self, next: &Self| Self {
            open: row.open.saturating_add(next.open),
            total: row.total.saturating_add(next.total),
            up: row.up.saturating_add(next.up),
            down: row.down.saturating_add(next.down),
            rate: row.rate.saturating_add(next.rate),
            ..row
        };
        rows.iter().fold(Self::default(), sum)
    }
}

/// The lines for a terminal of `size` rows and columns: a heading, the ports, and what they are together. Where there is not
/// room for all ports, those at which nothing happens are left out first.
pub(crate) fn lines(ports: &[Row], (rows, columns): (usize, usize)) -> Vec<String> {
    // A line that reaches the last column may count as two.
    let width = columns.saturating_sub(1);
    let numbers = COLUMNS.iter().map(|(_, width)| width).sum::<usize>();
    let longest = ports.iter().map(|port| console::measure_text_width(&port.name)).max().unwrap_or_default();
    let name = longest.min(width.saturating_sub(numbers + 2 + STATE_MIN)).max(NAME_MIN);
    let room = rows.saturating_sub(OTHER_LINES).max(1);
    let (shown, hidden) = choose(ports, room);
    let sum = Row::sum(ports);

    let heading = COLUMNS.map(|(heading, width)| pad_str(heading, width, Alignment::Right, None).into_owned());
    let mut lines =
        vec![cut(&format!("{}{}  state", pad_str("port", name, Alignment::Left, None), heading.concat()), width)];
    for port in shown {
        let shortened = truncate_str(&port.name, name, CUT).into_owned();
        let front = format!("{}{}  ", pad_str(&shortened, name, Alignment::Left, None), counted(port));
        let left = width.saturating_sub(console::measure_text_width(&front));
        let state = port.state.style().apply_to(cut(&port.state.text(), left)).to_string();
        lines.push(if left > 0 { format!("{front}{state}") } else { cut(&front, width) });
    }
    if hidden > 0 {
        lines.push(cut(&format!("{CUT} and {hidden} more"), width));
    }
    lines.push(cut(
        &format!("{}{}  {} in all", pad_str("together", name, Alignment::Left, None), counted(&sum), sum.total),
        width,
    ));
    lines
}

/// The ports that are shown, in their order, and how many are not.
fn choose(ports: &[Row], room: usize) -> (Vec<&Row>, usize) {
    if ports.len() <= room {
        return (ports.iter().collect(), 0);
    }
    // One line says how many are missing.
    let room = room.saturating_sub(1);
    let mut order: Vec<_> = ports.iter().enumerate().collect();
    order.sort_by_key(|(_, port)| port.is_quiet());
    order.truncate(room);
    order.sort_by_key(|(at, _)| *at);
    (order.into_iter().map(|(_, port)| port).collect(), ports.len().saturating_sub(room))
}

fn counted(row: &Row) -> String {
    let texts = [row.open.to_string(), size(row.up), size(row.down), format!("{}/s", size(row.rate))];
    let cells =
        COLUMNS.iter().zip(texts).map(|((_, width), text)| pad_str(&text, *width, Alignment::Right, None).into_owned());
    cells.collect()
}

fn cut(text: &str, width: usize) -> String {
    // Not even the sign that something was cut.
    if width == 0 {
        return String::new();
    }
    truncate_str(text.trim_end(), width, CUT).into_owned()
}

/// What a port has carried, in words.
pub(crate) fn carried(total: u64, up: u64, down: u64) -> String {
    let connections = if total == 1 { "connection" } else { "connections" };
    format!("{total} {connections}, {} up, {} down", size(up), size(down))
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    let units = [("TB", 1_000_000_000_000_u64), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit / (unit / 10)),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, open: usize, state: State) -> Row {
        Row { name: name.to_owned(), open, total: 7, up: 1500, down: 2_000_000, rate: 999, state }
    }

    fn shown(ports: &[Row], size: (usize, usize)) -> Vec<String> {
        lines(ports, size).iter().map(|line| console::strip_ansi_codes(line).into_owned()).collect()
    }

    #[test]
    fn each_port_has_a_line_between_the_heading_and_the_sum() {
        let ports = [
            port("db.example.com → 127.0.0.1:5432", 2, State::Up),
            port("shell.example.com → 127.0.0.1:22", 1, State::Login),
            port("x.example.com → [::1]:1", 0, State::Failed("cannot\u{1b}[2J reach it".to_owned())),
        ];
        assert_eq!(
            shown(&ports, (24, 100)),
            [
                "port                             open       up     down       rate  state",
                "db.example.com → 127.0.0.1:5432     2   1.5 kB   2.0 MB    999 B/s  up",
                "shell.example.com → 127.0.0.1:22    1   1.5 kB   2.0 MB    999 B/s  waiting for login",
                "x.example.com → [::1]:1             0   1.5 kB   2.0 MB    999 B/s  cannot[2J reach it",
                "together                            3   4.5 kB   6.0 MB   2.9 kB/s  21 in all",
            ]
        );
    }

    #[test]
    fn no_line_reaches_the_last_column_however_narrow_the_terminal() {
        let ports = [
            port("データベース.example.com → 127.0.0.1:5432", 2, State::Up),
            port("a.example.com → 127.0.0.1:1", 1, State::Failed("long ".repeat(100))),
        ];
        for columns in 0..200 {
            for line in lines(&ports, (24, columns)) {
                let width = console::measure_text_width(&line);
                assert!(width < columns.max(1) || width == 0, "{columns}: {line}");
            }
        }
        assert!(shown(&ports, (24, 80))[1].starts_with("データベース.e"), "{:?}", shown(&ports, (24, 80)));
    }

    #[test]
    fn where_there_is_no_room_for_all_the_quiet_ones_are_left_out_and_counted() {
        let mut ports: Vec<_> = (0..20).map(|number| port(&format!("quiet-{number}"), 0, State::Up)).collect();
        ports[15] = port("busy", 1, State::Up);
        ports[18] = port("broken", 0, State::Failed("no".to_owned()));
        let lines = shown(&ports, (10, 80));
        assert_eq!(lines.len(), 9, "{lines:?}");
        let names: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(names, ["port", "quiet-0", "quiet-1", "quiet-2", "quiet-3", "busy", "broken", "…", "together"]);
        assert_eq!(lines[7], "… and 14 more");
        for rows in 0..4 {
            assert_eq!(shown(&ports, (rows, 80)).len(), 3, "{rows}");
        }
        assert_eq!(shown(&ports, (23, 80)).len(), 22, "all of them");
    }

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1500, "1.5 kB"),
            (2_000_000, "2.0 MB"),
            (3_250_000_000, "3.2 GB"),
            (1_230_000_000_000, "1.2 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(carried(1, 0, 1000), "1 connection, 0 B up, 1.0 kB down");
    }
}
