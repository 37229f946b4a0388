use rmcp::model::RequestId;
use std::mem::take;

/// Finds the id in a text that is too long, or no JSON, in constant memory: some clients
/// write it first, and others last.
#[derive(Default)]
pub struct Scan {
    /// `Some(None)` if no message may have it.
    pub id: Option<Option<RequestId>>,
    /// `true` for a request or a notification, `false` for an answer.
    pub is_call: bool,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    key: Vec<u8>,
    /// The key or the value that is read in the outermost object.
    token: Vec<u8>,
}

impl Scan {
    pub fn read(mut self, text: &[u8]) -> Self {
        for &byte in text {
            let quoted = self.in_string;
            self.in_string ^= byte == b'"' && !self.is_escaped;
            self.is_escaped = quoted && byte == b'\\' && !self.is_escaped;
            match byte {
                b'{' | b'[' if !quoted => self.depth += 1,
                b'}' | b']' | b',' if !quoted => {
                    if self.depth == 1 {
                        self.end_value();
                    }
                    self.depth = self.depth.saturating_sub(usize::from(byte != b','));
                }
                b':' if !quoted && self.depth == 1 => self.key = take(&mut self.token),
                _ if self.depth == 1 && self.token.len() < MAX_ID => self.token.push(byte),
                _ => {}
            }
        }
        self
    }

    fn end_value(&mut self) {
        let (key, value) = (take(&mut self.key), take(&mut self.token));
        match key.trim_ascii() {
            b"\"id\"" => self.id = Some(serde_json::from_slice(&value).ok()),
            b"\"method\"" => self.is_call = true,
            _ => {}
        }
    }
}

const MAX_ID: usize = 256;
