//! The picture of a run: what was asked, answered, signalled and cut, along one line of time, as SVG and as text.
//!
//! Before the attack time runs evenly, after it by powers of ten: what is decided in seconds and what goes on for weeks stand
//! in one picture.

use crate::scoreboard::{Scoreboard, span};

/// What happened at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The attacker received data.
    Taken,
    /// The attacker received none.
    Refused,
    /// An honest request was answered.
    Served,
    /// An honest request was refused.
    Harmed,
    /// A signal.
    Signal,
    /// A containment.
    Contained,
}

/// Rows of the picture, top to bottom, with their colours.
const ROWS: [(Mark, &str, &str, char); 6] = [
    (Mark::Taken, "attacker: data", "#c2410c", '#'),
    (Mark::Refused, "attacker: refused", "#94a3b8", '.'),
    (Mark::Served, "honest: answered", "#15803d", '+'),
    (Mark::Harmed, "honest: refused", "#be185d", '!'),
    (Mark::Signal, "signal", "#a16207", 'S'),
    (Mark::Contained, "contained", "#1d4ed8", 'C'),
];

/// Columns after the attack's beginning, and before it.
const AFTER: usize = 60;
const BEFORE: usize = 12;
/// Size of the SVG, in its own units.
const WIDTH_LEFT: usize = 150;
const CELL: usize = 11;
const ROW_HEIGHT: usize = 26;

/// The moments of one run, in columns.
#[derive(Clone, Debug)]
pub struct Picture {
    before_s: f64,
    after_s: f64,
    /// Per row and column, how many.
    counts: [[u64; BEFORE + AFTER]; ROWS.len()],
}

impl Picture {
    /// An empty picture of so many seconds before the attack's beginning and after it.
    pub fn new(before_s: f64, after_s: f64) -> Self {
        let counts = [[0; BEFORE + AFTER]; ROWS.len()];
        Self { before_s: before_s.max(1.0), after_s: after_s.max(10.0), counts }
    }

    /// Puts a mark at a moment, in seconds from the attack's beginning.
    pub fn mark(&mut self, mark: Mark, at_s: f64) {
        let column = self.column(at_s);
        let row = ROWS.iter().position(|(of, ..)| *of == mark);
        if let Some(count) = row.and_then(|row| self.counts.get_mut(row)?.get_mut(column)) {
            *count += 1;
        }
    }

    fn column(&self, at_s: f64) -> usize {
        let share = |part: f64, columns: usize| {
            (0..columns).rev().find(|c| part * columns as f64 >= *c as f64).unwrap_or(0)
        };
        if at_s < 0.0 {
            return share(1.0 + at_s / self.before_s, BEFORE);
        }
        BEFORE + share((1.0 + at_s).ln() / (1.0 + self.after_s).ln(), AFTER)
    }

    /// Moments worth a label, with their columns.
    fn ticks(&self) -> Vec<(usize, String)> {
        let after = [0.0, 10.0, 60.0, 600.0, 3_600.0, 86_400.0, 864_000.0];
        let after = after.into_iter().filter(|secs| *secs < self.after_s);
        let label = |secs: f64| if secs == 0.0 { "attack".to_owned() } else { span(secs) };
        after.map(|secs| (self.column(secs), label(secs))).collect()
    }

    /// For a terminal: one line a row.
    pub fn lines(&self) -> Vec<String> {
        let row = |((_, name, _, sign), counts): (&(Mark, &str, &str, char), &[u64])| {
            let cells: String =
                counts.iter().map(|count| if *count > 0 { *sign } else { ' ' }).collect();
            format!("  {name:<18}|{cells}|")
        };
        let counts = self.counts.iter().map(<[u64; BEFORE + AFTER]>::as_slice);
        let mut lines: Vec<String> = ROWS.iter().zip(counts).map(row).collect();
        let mut axis = String::new();
        for (column, label) in self.ticks() {
            let gap = column.saturating_sub(axis.chars().count());
            if gap > 0 || axis.is_empty() {
                axis.push_str(&" ".repeat(gap));
                axis.push_str(&label.replace(".0", ""));
                axis.push(' ');
            }
        }
        lines.push(format!("  {:<18} {}", "", axis.trim_end()));
        lines
    }

    /// A file of its own, without anything from elsewhere.
    pub fn svg(&self, board: &Scoreboard) -> String {
        let width = WIDTH_LEFT + (BEFORE + AFTER) * CELL + 20;
        let height = 90 + ROWS.len() * ROW_HEIGHT + 20 * (board.signals.len().min(6) + 1);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n<text x=\"10\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>\n<text x=\"10\" y=\"42\" fill=\"#475569\">{}</text>\n",
            escape(&format!("{} {}: {}", board.scenario, board.mode, board.title)),
            escape(&format!(
                "{} subjects, {} records exposed; detected after {}, contained after {}; scope off by {}",
                board.subjects,
                board.records,
                board.time_to_detect_s.map_or("never".to_owned(), span),
                board.time_to_contain_s.map_or("never".to_owned(), span),
                board.scope_error
            )),
        );
        for (at, ((_, name, colour, _), counts)) in ROWS.iter().zip(&self.counts).enumerate() {
            let y = 60 + at * ROW_HEIGHT;
            svg.push_str(&format!("<text x=\"10\" y=\"{}\">{}</text>\n", y + 15, escape(name)));
            let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
            for (column, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let x = WIDTH_LEFT + column * CELL;
                let opacity = 0.35 + 0.65 * ((1.0 + *count as f64).ln() / (1.0 + most).ln());
                svg.push_str(&format!("<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"{colour}\" fill-opacity=\"{opacity:.2}\"><title>{count}</title></rect>\n", CELL - 1, ROW_HEIGHT - 6));
            }
        }
        let bottom = 60 + ROWS.len() * ROW_HEIGHT;
        for (column, label) in self.ticks() {
            let x = WIDTH_LEFT + column * CELL;
            svg.push_str(&format!("<line x1=\"{x}\" y1=\"55\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#cbd5e1\"/>\n<text x=\"{x}\" y=\"{}\" fill=\"#475569\" font-size=\"10\">{}</text>\n", bottom + 12, escape(&label.replace(".0", ""))));
        }
        for (at, (secs, what)) in board.signals.iter().take(6).enumerate() {
            let y = bottom + 36 + at * 20;
            svg.push_str(&format!(
                "<text x=\"10\" y=\"{y}\" fill=\"#a16207\">{}</text>\n",
                escape(&format!("{}  {what}", span(*secs)))
            ));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn picture() -> Picture {
        let mut picture = Picture::new(600.0, 21_600.0);
        (-600..21_600).step_by(60).for_each(|s| picture.mark(Mark::Served, f64::from(s)));
        (0..36).for_each(|n| picture.mark(Mark::Taken, f64::from(n) / 2.0));
        (36..9_000).for_each(|n| picture.mark(Mark::Refused, f64::from(n) / 2.0));
        picture.mark(Mark::Signal, 17.5);
        picture.mark(Mark::Contained, 18.0);
        picture
    }

    #[test]
    fn a_terminal_shows_seconds_and_hours_in_one_picture() {
        expect![[r#"
            picture
              attacker: data    |            # # ##############                                          |
              attacker: refused |                             ..................................         |
              honest: answered  |+++++ +++++ +                       +   +  ++ ++++++++++++++++++++++++++|
              honest: refused   |                                                                        |
              signal            |                             S                                          |
              contained         |                             C                                          |
                                             attack        10 s      60 s          10 min     60 min"#]]
        .assert_eq(&format!("picture\n{}", picture().lines().join("\n")));
    }

    #[test]
    fn no_text_becomes_markup() {
        let mut board = crate::scoreboard::tests::board();
        board.title = "<script>".into();
        board.signals = vec![(1.0, "a & \"b\"".into())];
        let svg = picture().svg(&board);
        assert!(!svg.contains("<script"), "{svg}");
        assert!(svg.contains("a &amp; &quot;b&quot;"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn every_moment_has_a_column() {
        let picture = picture();
        for at in [f64::MIN, -600.0, -1.0, 0.0, 1.0, 21_600.0, f64::MAX] {
            assert!(picture.column(at) < BEFORE + AFTER, "{at}");
        }
        assert_eq!(picture.column(-0.01), BEFORE - 1);
        assert_eq!(picture.column(0.0), BEFORE);
    }
}
