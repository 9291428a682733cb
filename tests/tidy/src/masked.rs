//! Rust source with its comments and literals blanked out, so that a rule that looks for a word
//! does not find it in prose. Lines and columns stay where they are.

/// One source text, parted into code and comments.
#[derive(Clone, Debug)]
pub struct Masked {
    /// The text with comments and the insides of literals replaced by spaces.
    pub code: String,
    /// The text with all but comments replaced by spaces.
    pub comments: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: u32 },
    Text { hashes: Option<usize> },
}

impl Masked {
    /// Part a source text.
    pub fn new(source: &str) -> Self {
        let mut masker = Masker {
            chars: source.chars().collect(),
            at: 0,
            code: String::with_capacity(source.len()),
            comments: String::with_capacity(source.len()),
        };
        let mut state = State::Code;
        while masker.at < masker.chars.len() {
            state = match state {
                State::Code => masker.code_step(),
                State::LineComment => masker.line_comment_step(),
                State::BlockComment { depth } => masker.block_comment_step(depth),
                State::Text { hashes } => masker.text_step(hashes),
            };
        }
        Self { code: masker.code, comments: masker.comments }
    }

    /// The line (from 1) of a byte offset into the code.
    pub fn line_of(&self, offset: usize) -> usize {
        self.code.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
    }

    /// The byte offsets at which this word stands alone in the code.
    pub fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let bytes = self.code.as_bytes();
        let is_word =
            |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
        self.code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            let before = at.checked_sub(1).and_then(|index| bytes.get(index));
            !is_word(before) && !is_word(bytes.get(at + word.len()))
        })
    }

    /// The lines (from 1, first and last) of inline test modules.
    pub fn test_spans(&self) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        for (at, attribute) in self.code.match_indices("#[cfg(test)]") {
            let rest = &self.code[at + attribute.len()..];
            let Some(open) = rest.find(['{', ';']) else { continue };
            if !rest[..open].contains("mod ") || rest.as_bytes()[open] == b';' {
                continue;
            }
            let open = at + attribute.len() + open;
            let close = self.closing_brace(open).unwrap_or(self.code.len());
            spans.push((self.line_of(at), self.line_of(close)));
        }
        spans
    }

    /// The comments on the statement at a line: at the end of its lines, and on those of the two
    /// lines above it that have no code.
    pub fn comments_on(&self, line: usize) -> Vec<&str> {
        let code: Vec<_> = self.code.lines().collect();
        let comments: Vec<_> = self.comments.lines().collect();
        let mut first = line - 1;
        // A line that ends nothing belongs to the statement of the line below it.
        while first > 0 && continues(code[first - 1]) {
            first -= 1;
        }
        let mut last = line - 1;
        while last + 1 < code.len() && continues(code[last]) {
            last += 1;
        }
        let above = (1..=2).filter_map(|back| first.checked_sub(back));
        let above = above.filter(|index| code[*index].trim().is_empty());
        above.chain(first..=last).filter_map(|index| comments.get(index).copied()).collect()
    }

    /// The code with its inline test modules blanked too; lines stay where they are.
    pub fn code_without_tests(&self) -> String {
        let spans = self.test_spans();
        let is_test = |line: usize| spans.iter().any(|(from, to)| (*from..=*to).contains(&line));
        let lines = self.code.lines().enumerate();
        let kept = lines.map(|(index, line)| if is_test(index + 1) { "" } else { line });
        kept.collect::<Vec<_>>().join("\n")
    }

    /// The offset of the brace that closes the one at `open`.
    pub fn closing_brace(&self, open: usize) -> Option<usize> {
        let mut depth = 0_u32;
        for (offset, byte) in self.code.bytes().enumerate().skip(open) {
            if byte == b'{' {
                depth += 1;
            } else if byte == b'}' {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(offset);
                }
            }
        }
        None
    }
}

fn continues(code: &str) -> bool {
    let code = code.trim();
    !code.is_empty() && !code.ends_with([';', '{', '}', ',', ']'])
}

struct Masker {
    chars: Vec<char>,
    at: usize,
    code: String,
    comments: String,
}

impl Masker {
    fn ahead(&self, offset: usize) -> Option<char> {
        self.chars.get(self.at + offset).copied()
    }

    /// Take one character as code, as comment, or as neither.
    fn take(&mut self, is_code: bool, is_comment: bool) {
        let Some(char) = self.ahead(0) else { return };
        let blank = if char == '\n' { "\n".to_owned() } else { " ".repeat(char.len_utf8()) };
        let keep = char.to_string();
        self.code.push_str(if is_code { &keep } else { &blank });
        self.comments.push_str(if is_comment { &keep } else { &blank });
        self.at += 1;
    }

    fn code_step(&mut self) -> State {
        match (self.ahead(0), self.ahead(1)) {
            (Some('/'), Some('/')) => State::LineComment,
            (Some('/'), Some('*')) => {
                self.take(false, true);
                self.take(false, true);
                State::BlockComment { depth: 1 }
            }
            (Some('"'), _) => {
                self.take(true, false);
                State::Text { hashes: None }
            }
            (Some('r'), _) if !self.after_word() => self.raw_text_start(),
            (Some('\''), _) => {
                self.char_or_lifetime();
                State::Code
            }
            _ => {
                self.take(true, false);
                State::Code
            }
        }
    }

    /// Whether the character before is part of a word, so that an `r` starts no raw literal.
    /// The `b` and `c` of byte and C literals may stand before it.
    fn after_word(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).map(|index| self.chars[index]);
        let is_word = |char: Option<char>| char.is_some_and(|c| c.is_alphanumeric() || c == '_');
        match before(1) {
            Some('b' | 'c') => is_word(before(2)),
            other => is_word(other),
        }
    }

    fn raw_text_start(&mut self) -> State {
        let hashes = (1..).take_while(|offset| self.ahead(*offset) == Some('#')).count();
        let is_raw = self.ahead(1 + hashes) == Some('"');
        self.take(true, false);
        if !is_raw {
            return State::Code;
        }
        for _ in 0..=hashes {
            self.take(true, false);
        }
        State::Text { hashes: Some(hashes) }
    }

    /// A character literal is blanked; a lifetime is code.
    fn char_or_lifetime(&mut self) {
        let is_escape = self.ahead(1) == Some('\\');
        let is_char = is_escape || self.ahead(2) == Some('\'');
        self.take(true, false);
        if !is_char {
            return;
        }
        if is_escape {
            self.take(false, false);
        }
        self.take(false, false);
        while self.ahead(0).is_some_and(|char| char != '\'') {
            self.take(false, false);
        }
        self.take(true, false);
    }

    fn line_comment_step(&mut self) -> State {
        let ends = self.ahead(0) == Some('\n');
        self.take(false, true);
        if ends { State::Code } else { State::LineComment }
    }

    fn block_comment_step(&mut self, depth: u32) -> State {
        let pair = (self.ahead(0), self.ahead(1));
        self.take(false, true);
        let depth = match pair {
            (Some('/'), Some('*')) => depth + 1,
            (Some('*'), Some('/')) => depth - 1,
            _ => return State::BlockComment { depth },
        };
        self.take(false, true);
        if depth == 0 { State::Code } else { State::BlockComment { depth } }
    }

    fn text_step(&mut self, hashes: Option<usize>) -> State {
        if hashes.is_none() && self.ahead(0) == Some('\\') {
            self.take(false, false);
            self.take(false, false);
            return State::Text { hashes };
        }
        let closes = self.ahead(0) == Some('"')
            && (1..=hashes.unwrap_or(0)).all(|offset| self.ahead(offset) == Some('#'));
        self.take(closes, false);
        if closes { State::Code } else { State::Text { hashes } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_blanked_and_kept_apart() {
        let masked = Masked::new("a(); // b\n/* c /* d */ e */ f();\n");
        assert_eq!(masked.code, "a();     \n                  f();\n");
        assert_eq!(masked.comments, "     // b\n/* c /* d */ e */     \n");
    }

    #[test]
    fn literals_are_blanked() {
        let masked = Masked::new(r##"f("a \" b", r#"c " d"#, b"e", '"', '\'', 'x');"##);
        assert_eq!(masked.code, r##"f("      ", r#"     "#, b" ", ' ', '  ', ' ');"##);
    }

    #[test]
    fn lifetimes_and_raw_names_are_code() {
        let source = "fn f<'a>(r#type: &'a str, for_r: u8) {}";
        assert_eq!(Masked::new(source).code, source);
    }

    #[test]
    fn words_stand_alone() {
        let masked = Masked::new("unsafe { } unsafe_code \"unsafe\" // unsafe");
        assert_eq!(masked.words("unsafe").collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn comments_belong_to_their_statement() {
        let source = "// far\n// two\n// one\na(\n    b, // inside\n).c(); // end\nd();\n";
        let on = |line| -> Vec<String> {
            let masked = Masked::new(source);
            masked.comments_on(line).into_iter().map(|c| c.trim().to_owned()).collect()
        };
        assert_eq!(on(4), ["// one", "// two", "", "// inside"]);
        assert_eq!(on(7), [""]);
    }

    #[test]
    fn inline_test_modules_are_found() {
        let source = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\nfn h() {}\n";
        assert_eq!(Masked::new(source).test_spans(), [(3, 6)]);
        assert_eq!(Masked::new(source).code_without_tests(), "fn f() {}\n\n\n\n\n\nfn h() {}");
        assert_eq!(Masked::new("#[cfg(test)]\nmod tests;\nfn f() {}").test_spans(), []);
    }
}
