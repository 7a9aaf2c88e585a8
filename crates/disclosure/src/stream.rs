//! Streams: bodies that are a sequence of JSON values, judged and released a batch at a time.
//!
//! A [`Stream`] is known from a reply's head, a [`Splitter`] finds where one value ends and the next begins, and
//! [`disclose_batch`](crate::disclose_batch) judges what was found. Lines and events are only split here; whether one is JSON, and whose
//! it is, is for the filter to say.

use crate::contract::Match;
use crate::contract::plan::NodeId;
use crate::headers;
use crate::release::{BadBody, Headers};

/// How a stream's values are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value a line: `application/x-ndjson` and `application/jsonl`.
    Lines,
    /// One value an event, in its `data` fields: `text/event-stream` (WHATWG HTML section 9.2).
    Events,
}

impl Form {
    fn of(essence: &str) -> Option<Self> {
        match essence {
            "application/x-ndjson" | "application/jsonl" => Some(Self::Lines),
            "text/event-stream" => Some(Self::Events),
            _ => None,
        }
    }

    /// Appends what is left of one value, in its form. An event keeps its data only: its name and id are text of the origin's that no
    /// class covers.
    pub(crate) fn write(self, value: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Lines => {
                out.extend_from_slice(value);
                out.push(b'\n');
            }
            Self::Events => {
                // A line feed can only be white space between tokens: one inside a string is not JSON.
                for line in value.split(|byte| *byte == b'\n') {
                    out.extend_from_slice(b"data: ");
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
                out.push(b'\n');
            }
        }
    }
}

/// A reply that is a stream by its declared content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub(crate) status: u16,
    pub(crate) essence: String,
    pub(crate) form: Form,
}

impl Stream {
    /// How its values are told apart.
    pub const fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn plan(&self, matched: &Match<'_>) -> Option<NodeId> {
        matched.operation.responses.answer(self.status)?.stream_plan(&self.essence)
    }
}

impl Match<'_> {
    /// Whether a reply with this head is a stream: the operation declares its very content type for its status, with a schema for one
    /// value. Ranges such as `*/*` describe whole bodies and declare no stream.
    pub fn stream(&self, status: u16, headers: &Headers) -> Option<Stream> {
        let essence = headers::only(headers, "content-type").ok()?.and_then(headers::media_type)?;
        let stream = Stream { status, form: Form::of(&essence)?, essence };
        stream.plan(self).map(|_| stream)
    }
}

/// Some whole values of a stream, in the order received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginBatch {
    /// The stream it is of.
    pub stream: Stream,
    /// The reply's headers, with the first batch; `None` with the others.
    pub headers: Option<Headers>,
    /// As the [`Splitter`] found them.
    pub values: Vec<Vec<u8>>,
}

/// Finds the values of a stream in its bytes, however they were split.
///
/// Call [`Splitter::push`] with what arrived, then [`Splitter::next_value`] until it has none, and at the end of the stream once
/// [`Splitter::end`].
#[derive(Debug)]
pub struct Splitter {
    form: Form,
    /// Longest value, in bytes.
    max: usize,
    buffer: Vec<u8>,
    /// Where the line being read begins; what is before it was taken.
    start: usize,
    /// Up to where no line feed is.
    searched: usize,
    /// The data of the event being read: `None` until its first `data` field.
    data: Option<Vec<u8>>,
}

impl Splitter {
    /// For a stream of `form` whose lines and values are at most `max` bytes long.
    pub fn new(form: Form, max: usize) -> Self {
        Self { form, max, buffer: Vec::new(), start: 0, searched: 0, data: None }
    }

    /// Takes what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole value, if it has arrived. Blank lines and events without data are none.
    ///
    /// # Errors
    /// [`BadBody::StreamValue`]; the stream cannot be read any further.
    pub fn next_value(&mut self) -> Result<Option<Vec<u8>>, BadBody> {
        while let Some(line) = self.line()? {
            match self.form {
                Form::Lines if line.trim_ascii().is_empty() => {}
                Form::Lines => return Ok(Some(line)),
                Form::Events => {
                    if let Some(data) = self.field(line)? {
                        return Ok(Some(data));
                    }
                }
            }
        }
        Ok(None)
    }

    /// What is left when the origin ended the stream in order: a last line needs no line feed. An event that no blank line ended is
    /// none (WHATWG HTML section 9.2.6).
    pub fn end(self) -> Option<Vec<u8>> {
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        let is_value = self.form == Form::Lines && !rest.trim_ascii().is_empty();
        is_value.then(|| rest.to_vec())
    }

    /// The next line without its line feed.
    fn line(&mut self) -> Result<Option<Vec<u8>>, BadBody> {
        let unread = self.buffer.get(self.searched..).unwrap_or_default();
        let found = unread.iter().position(|byte| *byte == b'\n');
        let end = self.searched + found.unwrap_or(unread.len());
        if end - self.start > self.max {
            return Err(BadBody::StreamValue);
        }
        self.searched = end;
        if found.is_none() {
            return Ok(None);
        }
        let line = self.buffer.get(self.start..end).unwrap_or_default().to_vec();
        (self.start, self.searched) = (end + 1, end + 1);
        Ok(Some(line))
    }

    /// Takes one line of an event; returns its data if the line ends it.
    fn field(&mut self, mut line: Vec<u8>) -> Result<Option<Vec<u8>>, BadBody> {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        // A lone CR ends a line too, for a reader that follows the standard. No serialiser writes it, so nobody has to tell two
        // readings apart.
        if line.contains(&b'\r') {
            return Err(BadBody::StreamValue);
        }
        if line.is_empty() {
            return Ok(self.data.take().filter(|data| !data.trim_ascii().is_empty()));
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            // A comment, or a field that does not leave.
            _ => return Ok(None),
        };
        let data = match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data
            }
            none => none.insert(Vec::new()),
        };
        data.extend_from_slice(value);
        if data.len() > self.max { Err(BadBody::StreamValue) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(form: Form, max: usize, pieces: &[&[u8]]) -> Result<Vec<String>, BadBody> {
        let mut splitter = Splitter::new(form, max);
        let mut values = Vec::new();
        for piece in pieces {
            splitter.push(piece);
            while let Some(value) = splitter.next_value()? {
                values.push(value);
            }
        }
        values.extend(splitter.end());
        Ok(values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect())
    }

    #[test]
    fn a_line_is_a_value_and_the_last_needs_no_line_feed() {
        let split = |text: &str| split(Form::Lines, 9, &[text.as_bytes()]).unwrap();
        assert_eq!(split("{}\n[1]\r\n \t\n\n2"), ["{}", "[1]\r", "2"]);
        assert_eq!(split("\n\n"), Vec::<String>::new());
    }

    #[test]
    fn an_event_is_its_data_and_needs_its_blank_line() {
        let split = |text: &str| split(Form::Events, 20, &[text.as_bytes()]);
        assert_eq!(
            split("event: a\nid: 7\ndata: {\ndata:}\nretry: 3\n\n").unwrap(),
            ["{\n}"],
            "name, id and retry stay, data lines join"
        );
        assert_eq!(split(": beat\n\ndata\n\ndata: \n\ndata:  1\r\n\r\n").unwrap(), [" 1"]);
        assert_eq!(split("data: 1\n\ndata: 2\n").unwrap(), ["1"], "an unfinished event is none");
        assert_eq!(split("database: 1\n\n").unwrap(), Vec::<String>::new());
        assert_eq!(split("data: 1\rdata: 2\n\n"), Err(BadBody::StreamValue));
    }

    #[test]
    fn a_long_value_ends_the_stream_before_it_is_whole() {
        for form in [Form::Lines, Form::Events] {
            assert_eq!(split(form, 9, &[b"0123456789"]), Err(BadBody::StreamValue));
            assert_eq!(split(form, 9, &[b"0123456789\n"]), Err(BadBody::StreamValue));
        }
        let event = b"data:1234\ndata:1234\ndata:1234\n\n";
        assert_eq!(split(Form::Events, 9, &[event]), Err(BadBody::StreamValue));
        assert_eq!(split(Form::Lines, 9, &[b"012345678\n"]).unwrap(), ["012345678"]);
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(
            text in "(data:|data|[a:1 \r\n]){0,12}\n{0,2}",
            pieces in prop::collection::vec(0_usize..4, 0..24),
            events in any::<bool>(),
        ) {
            let form = if events { Form::Events } else { Form::Lines };
            let mut rest = text.as_bytes();
            let mut cut = Vec::new();
            for piece in pieces {
                let (head, tail) = rest.split_at(piece.min(rest.len()));
                cut.push(head);
                rest = tail;
            }
            cut.push(rest);
            prop_assert_eq!(split(form, 12, &[text.as_bytes()]), split(form, 12, &cut));
        }
    }
}
