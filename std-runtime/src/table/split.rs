//! Splitting the next row into fields.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Where a field lies in its row's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u32,
    pub end: u32,
}

/// What stands at the start of a text. Lengths include the line end: `\n`, `\r\n` or a lone `\r`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// A row of this length; the spans are written.
    Row(usize),
    /// A blank line of this length.
    Blank(usize),
    /// A row that the plain loop cannot split: it has a quote or a lone `\r`.
    Quoted,
    /// The text ends before the row does.
    Partial,
}

/// Splits a row without quotes.
#[inline]
pub(super) fn split_plain(text: &[u8], delimiter: u8, spans: &mut Vec<Span>) -> Split {
    spans.clear();
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        // Letters and digits are above every byte that matters here, save unusual delimiters.
        if byte > b',' && byte != delimiter {
            continue;
        }
        let len = match byte {
            b'\n' => at + 1,
            b'\r' => match text.get(at + 1) {
                Some(b'\n') => at + 2,
                Some(_) if at == 0 => 1,
                Some(_) => return Split::Quoted,
                None => return Split::Partial,
            },
            b'"' => return Split::Quoted,
            _ if byte == delimiter => {
                spans.push(Span { start, end: at as u32 });
                start = at as u32 + 1;
                continue;
            }
            _ => continue,
        };
        if at == 0 {
            return Split::Blank(len);
        }
        spans.push(Span { start, end: at as u32 });
        return Split::Row(len);
    }
    Split::Partial
}

/// Splits any row with `csv-core` and keeps its unquoted text.
pub(super) struct QuotedSplit {
    reader: Reader,
    /// The reader stands inside a row it could not finish.
    is_inside: bool,
    text: Vec<u8>,
    text_len: usize,
    ends: Vec<usize>,
}

impl QuotedSplit {
    pub fn new(delimiter: u8) -> Self {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Self { reader, is_inside: true, text: Vec::new(), text_len: 0, ends: vec![0; 16] }
    }

    /// The unquoted text that the spans of the last row refer to.
    pub fn text(&self) -> &[u8] {
        self.text.get(..self.text_len).unwrap_or(&[])
    }

    /// Splits the row at the start of `text`, which is not blank.
    pub fn split(&mut self, text: &[u8], spans: &mut Vec<Span>) -> Split {
        if self.text.len() < text.len() {
            self.text.resize(text.len(), 0);
        }
        loop {
            self.restart();
            let (result, len, text_len, fields) =
                self.reader.read_record(text, &mut self.text, &mut self.ends);
            match result {
                ReadRecordResult::Record => return self.finish(text, len, text_len, fields, spans),
                ReadRecordResult::OutputEndsFull => {
                    self.ends.resize(self.ends.len() * 2, 0);
                    self.is_inside = true;
                }
                _ => {
                    self.is_inside = true;
                    return Split::Partial;
                }
            }
        }
    }

    /// Whether a row that [`split`](Self::split) could not finish goes on behind this text, too.
    pub fn goes_on(&mut self, mut text: &[u8]) -> bool {
        let mut unquoted = vec![0; text.len()];
        while self.is_inside {
            let (result, len, ..) = self.reader.read_record(text, &mut unquoted, &mut self.ends);
            match result {
                ReadRecordResult::OutputEndsFull => text = text.get(len..).unwrap_or(&[]),
                result => {
                    self.is_inside = matches!(result, ReadRecordResult::InputEmpty);
                    break;
                }
            }
        }
        self.is_inside
    }

    /// Puts the reader at the start of a row that is not the first (whose byte order mark it would drop).
    fn restart(&mut self) {
        if self.is_inside {
            self.reader.reset();
            self.reader.read_record(b"\n", &mut [0; 1], &mut [0; 1]);
            self.is_inside = false;
        }
    }

    fn finish(
        &mut self,
        text: &[u8],
        len: usize,
        text_len: usize,
        fields: usize,
        spans: &mut Vec<Span>,
    ) -> Split {
        // The reader stops between `\r` and `\n`.
        let len = match (text.get(len.wrapping_sub(1)), text.get(len)) {
            (Some(b'\r'), Some(b'\n')) => len + 1,
            (Some(b'\r'), None) => return Split::Partial,
            _ => len,
        };
        self.text_len = text_len;
        spans.clear();
        let mut start = 0;
        for &end in self.ends.iter().take(fields) {
            spans.push(Span { start, end: end as u32 });
            start = end as u32;
        }
        Split::Row(len)
    }
}

/// Line ends in a text: `\n`, `\r\n` and lone `\r` count one each.
pub(super) fn line_ends(text: &[u8]) -> u64 {
    let ends = text.iter().enumerate().filter(|&(at, byte)| match byte {
        b'\n' => true,
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        _ => false,
    });
    ends.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_quoted_splitting_agree_on_rows_without_quotes() {
        let cases: [(&[u8], usize, usize); 6] = [
            (b"a,b,c\n", 6, 3),
            (b"a,,\r\nnext", 5, 3),
            (b" a b ,\xff\n", 8, 2),
            (b"one\n", 4, 1),
            (b",\n", 2, 2),
            (b"-1,+2,'x'\r\n", 11, 3),
        ];
        for (text, len, fields) in cases {
            let (mut plain, mut quoted) = (Vec::new(), Vec::new());
            assert_eq!(split_plain(text, b',', &mut plain), Split::Row(len), "{text:?}");
            let mut split = QuotedSplit::new(b',');
            assert_eq!(split.split(text, &mut quoted), Split::Row(len), "{text:?}");
            assert_eq!((plain.len(), quoted.len()), (fields, fields), "{text:?}");
            for (a, b) in plain.iter().zip(&quoted) {
                let (a, b) = (a.start as usize..a.end as usize, b.start as usize..b.end as usize);
                assert_eq!(text[a], split.text()[b], "{text:?}");
            }
        }
    }

    #[test]
    fn rows_end_where_their_line_does() {
        let mut spans = Vec::new();
        for (text, expected) in [
            (&b"\n"[..], Split::Blank(1)),
            (b"\r\na", Split::Blank(2)),
            (b"\ra", Split::Blank(1)),
            (b"", Split::Partial),
            (b"a,b", Split::Partial),
            (b"a,b\r", Split::Partial),
            (b"a\rb\n", Split::Quoted),
            (b"a,\"b\"\n", Split::Quoted),
        ] {
            assert_eq!(split_plain(text, b',', &mut spans), expected, "{text:?}");
        }
        let mut quoted = QuotedSplit::new(b',');
        for (text, expected) in [
            (&b"\"a\nb\",c\nd"[..], Split::Row(8)),
            (b"\"a\",b\r\n", Split::Row(7)),
            (b"\"a\",b\r", Split::Partial),
            (b"\"a\n", Split::Partial),
            (b"a\rb\n", Split::Row(2)),
        ] {
            assert_eq!(quoted.split(text, &mut spans), expected, "{text:?}");
        }
        assert_eq!(line_ends(b"a\r\nb\rc\n"), 3);
    }
}
