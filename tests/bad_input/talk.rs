//! What is said to the servers among the examples, and what is heard.

use crate::case;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, split};
use tokio::task::yield_now;
use tokio::time::timeout;

/// What a peer does.
#[derive(Default)]
pub(crate) struct Talk {
    pub(crate) pieces: Vec<Vec<u8>>,
    /// Whether it ends its side then.
    pub(crate) ends: bool,
    /// Where what is unusual in it begins and ends: cuts elsewhere tell nothing.
    pub(crate) unusual: Option<(usize, usize)>,
    /// Whether another cut would be another case.
    pub(crate) as_marked: bool,
}

/// What it hears, and whether the server closes.
#[derive(Debug, PartialEq)]
pub(crate) struct Heard {
    pub(crate) answers: Vec<u8>,
    pub(crate) is_closed: bool,
}

impl Talk {
    pub(crate) fn send(&mut self, rest: &str) -> Result<(), String> {
        case::extend(&mut self.pieces, case::pieces(rest)?);
        Ok(())
    }

    fn len(&self) -> usize {
        self.pieces.iter().map(Vec::len).sum()
    }

    pub(crate) fn send_unusual(&mut self, rest: &str) -> Result<(), String> {
        let from = self.unusual.map_or(self.len(), |(from, _)| from);
        self.send(rest)?;
        self.unusual = Some((from, self.len()));
        Ok(())
    }

    pub(crate) fn cuts(&self) -> Vec<Vec<usize>> {
        if self.as_marked {
            return vec![case::marks(&self.pieces)];
        }
        let (from, to) = self.unusual.unwrap_or_default();
        let mut cuts = case::cuts(&self.pieces);
        cuts.retain(|cuts| !matches!(cuts[..], [cut] if cut < from || cut > to));
        cuts
    }

    /// The same in other pieces.
    pub(crate) fn cut(&self, cuts: &[usize]) -> Talk {
        Talk { pieces: case::cut(&self.pieces.concat(), cuts), ends: self.ends, ..Talk::default() }
    }

    pub(crate) async fn with(&self, io: DuplexStream) -> Heard {
        let (mut reader, mut writer) = split(io);
        let writing = async {
            for piece in &self.pieces {
                // The server may have closed before.
                let _ = writer.write_all(piece).await;
                // It is polled until it has nothing left to do.
                for _ in 0..4 {
                    yield_now().await;
                }
            }
            if self.ends {
                let _ = writer.shutdown().await;
            }
        };
        let mut answers = vec![];
        let reading = timeout(A_WHILE, reader.read_to_end(&mut answers));
        let (is_closed, ()) = tokio::join!(reading, writing);
        Heard { is_closed: is_closed.is_ok(), answers }
    }
}

/// Longer than a server lingers, and shorter than its patience.
const A_WHILE: Duration = Duration::from_secs(50);
