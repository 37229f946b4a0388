//! The files: a name, a source, and steps of one word and what is behind it.

#![allow(dead_code)] // Each test uses its part of this.

use std::fs;
use std::path::{Path, PathBuf};
use tokio::runtime::{Builder, Runtime};

pub(crate) struct Case {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Step {
    pub(crate) word: String,
    pub(crate) rest: String,
}

impl Case {
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let mut comment = || lines.next().and_then(|line| line.strip_prefix("# "));
        let name = comment().filter(|name| !name.is_empty()).ok_or("no name")?.to_owned();
        let source = comment().and_then(|line| line.strip_prefix("Source: "));
        source.filter(|source| !source.is_empty()).ok_or("no source")?;
        let steps = lines
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
                Step { word: word.to_owned(), rest: rest.trim().to_owned() }
            })
            .collect();
        Ok(Case { file: file.to_owned(), name, steps })
    }

    pub(crate) fn folder(&self) -> &str {
        self.file.split('/').next().unwrap_or_default()
    }
}

impl Step {
    pub(crate) fn pair(&self) -> (&str, &str) {
        (&self.word, &self.rest)
    }

    pub(crate) fn unknown<T>(&self) -> Result<T, String> {
        Err(format!("unknown: {} {}", self.word, self.rest).trim().to_owned())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_input")
}

/// The folders that there are.
pub(crate) fn folders() -> Vec<String> {
    let entries = fs::read_dir(root()).unwrap().map(Result::unwrap);
    let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    folders.map(|folder| folder.file_name().into_string().unwrap()).collect()
}

/// All files of a folder, in the order of their names.
pub(crate) fn read_folder(folder: &str) -> Vec<Case> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} is empty");
    files.iter().map(|file| read(folder, file)).collect()
}

fn read(folder: &str, path: &Path) -> Case {
    assert!(path.extension().is_some_and(|extension| extension == "txt"), "{path:?}");
    let file = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
    Case::parse(&file, &fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// Bytes in pieces: `"ab" * 3 "\r" | "\n"`. Behind `|` begins another piece.
pub(crate) fn pieces(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut pieces = vec![vec![]];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('|') {
            pieces.push(vec![]);
            rest = behind.trim_start();
            continue;
        }
        let (mut bytes, behind) = quoted(rest)?;
        rest = behind.trim_start();
        if let Some(behind) = rest.strip_prefix('*') {
            let behind = behind.trim_start();
            let end = behind.find(' ').unwrap_or(behind.len());
            bytes = bytes.repeat(number(&behind[..end])? as usize);
            rest = behind[end..].trim_start();
        }
        pieces.last_mut().expect("never empty").extend(bytes);
    }
    Ok(pieces)
}

/// Bytes in one piece.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, String> {
    match pieces(text)?.as_slice() {
        [piece] if !text.is_empty() => Ok(piece.clone()),
        _ => Err(format!("not one piece: {text}")),
    }
}

pub(crate) fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

/// `"…"` at the front of `text`, and what is behind it.
pub(crate) fn quoted(text: &str) -> Result<(Vec<u8>, &str), String> {
    let bad = || format!("not in quotes: {text}");
    let mut chars = text.strip_prefix('"').ok_or_else(bad)?.chars();
    let mut bytes = vec![];
    loop {
        match chars.next().ok_or_else(bad)? {
            '"' => return Ok((bytes, chars.as_str())),
            '\\' => bytes.push(match chars.next().ok_or_else(bad)? {
                'r' => b'\r',
                'n' => b'\n',
                't' => b'\t',
                '0' => 0,
                c @ ('\\' | '"') => c as u8,
                'x' => {
                    let (digits, behind) = chars.as_str().split_at_checked(2).ok_or_else(bad)?;
                    chars = behind.chars();
                    u8::from_str_radix(digits, 16).map_err(|_| bad())?
                }
                _ => return Err(bad()),
            }),
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}

/// Where the pieces lie in the whole.
pub(crate) fn marks(pieces: &[Vec<u8>]) -> Vec<usize> {
    let mut at = 0;
    let ends = pieces.iter().map(|piece| {
        at += piece.len();
        at
    });
    let mut marks: Vec<usize> = ends.collect();
    marks.pop();
    marks
}

/// `whole` in pieces, cut at these places.
pub(crate) fn cut(whole: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let ends = cuts.iter().copied().chain([whole.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    starts.zip(ends).map(|(start, end)| whole[start..end].to_vec()).collect()
}

/// How something is cut for servers and clients: whole, as marked, into single
/// bytes, and at every place into two. What is long only into large pieces.
pub(crate) fn cuts(pieces: &[Vec<u8>]) -> Vec<Vec<usize>> {
    let len = pieces.iter().map(Vec::len).sum::<usize>();
    let mut cuts = vec![vec![], marks(pieces)];
    if len > LONG {
        cuts.push((1000..len).step_by(1000).collect());
        return cuts;
    }
    cuts.push((1..len).collect());
    cuts.extend((1..len).map(|cut| vec![cut]));
    cuts
}

const LONG: usize = 2000;

/// What servers and clients run on: a clock that stands still.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// Adds pieces, the first of which goes on with the last one that is there.
pub(crate) fn extend(pieces: &mut Vec<Vec<u8>>, more: Vec<Vec<u8>>) {
    let mut more = more.into_iter();
    match (pieces.last_mut(), more.next()) {
        (Some(last), Some(first)) => last.extend(first),
        (None, Some(first)) => pieces.push(first),
        (_, None) => {}
    }
    pieces.extend(more);
}

pub(crate) fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
