use rmcp::model::RequestId;

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
    /// The key, the colon and the value that are read in the outermost object.
    member: Vec<u8>,
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
                        self.end_member();
                    }
                    self.depth = self.depth.saturating_sub(usize::from(byte != b','));
                }
                _ if self.depth == 1 && self.member.len() < MAX_MEMBER => self.member.push(byte),
                _ => {}
            }
        }
        self
    }

    fn end_member(&mut self) {
        let mut parts = self.member.splitn(2, |&byte| byte == b':');
        match (parts.next().map(<[u8]>::trim_ascii), parts.next()) {
            (Some(b"\"id\""), Some(value)) => self.id = Some(serde_json::from_slice(value).ok()),
            (Some(b"\"method\""), Some(_)) => self.is_call = true,
            _ => {}
        }
        self.member.clear();
    }
}

const MAX_MEMBER: usize = 512;
