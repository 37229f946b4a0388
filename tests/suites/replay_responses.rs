//! Rows about responses, against the client.

use crate::case::{self, Case, escaped};
use crate::http_client;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::task::yield_now;

/// What the client makes of a response: its body, and the error.
type Outcome = (String, Result<(), String>);

pub(crate) fn replay(row: &Case) -> Result<(), String> {
    let (mut pieces, mut want) = (vec![], None::<Outcome>);
    for step in &row.steps {
        match step.pair() {
            ("said", rest) => case::extend(&mut pieces, case::pieces(rest)?),
            ("body", rest) => want = Some((escaped(&case::bytes(rest)?), Ok(()))),
            ("cut", rest) => want = Some((escaped(&case::bytes(rest)?), Err(CUT.into()))),
            ("refused", rest) => want = Some((String::new(), Err(rest.into()))),
            _ => return step.unknown(),
        }
    }
    let want = want.ok_or("nothing is expected")?;
    let runtime = case::runtime();
    let said = pieces.concat();
    for cuts in case::cuts(&pieces) {
        let (printed, got) = runtime.block_on(fetch(case::cut(&said, &cuts)));
        // The head is printed as it came, if it came to an end.
        let head = said.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| end + 4);
        let body =
            if printed.is_empty() { Some(&[][..]) } else { printed.strip_prefix(&said[..head]) };
        let got = (body.map_or_else(|| "another head".into(), escaped), got);
        if got != want {
            return Err(format!("cut at {cuts:?}: {got:?}, want {want:?}"));
        }
    }
    Ok(())
}

const CUT: &str = "input ended";

/// What is printed of a response in these pieces, and the error.
async fn fetch(pieces: Vec<Vec<u8>>) -> (Vec<u8>, Result<(), String>) {
    let (io, server) = duplex(64 * 1024);
    let (mut reader, mut writer) = split(server);
    let saying = async {
        for piece in pieces {
            // The client may have closed before.
            let _ = writer.write_all(&piece).await;
            yield_now().await;
        }
        let _ = writer.shutdown().await;
    };
    let (mut printed, mut request) = (vec![], vec![]);
    let got = http_client::get(io, "x", "", &mut printed);
    let (got, (), _) = tokio::join!(got, saying, reader.read_to_end(&mut request));
    (printed, got.map_err(|error| error.to_string()))
}
