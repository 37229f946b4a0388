//! Every async method is in this table, with a scenario that drops its future
//! at every `Pending`, and its docs say what that means. The sources are the
//! other half of the table.

use crate::explore_all;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A method, and the scenario in which its future is dropped.
const METHODS: &[(&str, &str)] = &[
    ("Channel::next", "CR LF: next"),
    ("Channel::peek", "CR LF: peek, then next"),
    ("Channel::receive", "CR LF: receive"),
    ("Channel::receive_within", "an over-long frame: receive_within"),
    ("Channel::receive_mut", "CR LF: receive_mut"),
    ("Channel::receive_part", "CR LF: receive_part"),
    ("Channel::ready", "ready before each push"),
    ("Channel::flush", "push and flush"),
    ("Channel::drive", "drive between two lines"),
    ("Channel::shutdown", "shutdown, dropped, then next"),
    ("Channel::close", "close"),
    ("Channel::run", "CR LF: run"),
    ("Channel::upgrade", "upgrade"),
    ("Channel::poll_next", "CR LF: a stream, answered"),
    ("Channel::poll_ready", "feed and flush"),
    ("Channel::poll_flush", "feed and flush"),
    ("Channel::poll_close", "send, dropped"),
    ("Pusher::push", "a pusher waits for room"),
    ("Pusher::push_parts", "a pusher of parts waits"),
    ("Pusher::push_with_producer", "a pusher of a producer waits"),
    ("Pusher::reserve", "a permit waits for capacity"),
    ("Pusher::flush", "a flush of a pusher"),
    ("Pusher::closed", "closed by a failure"),
];

/// A method as the sources have it.
#[derive(Debug)]
struct Method {
    name: String,
    /// Its docs, and for a method of a trait those of the `impl`.
    docs: String,
}

#[test]
fn every_async_method_is_dropped_and_documented() {
    let sources = sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let methods: Vec<Method> = sources.iter().flat_map(|source| async_methods(source)).collect();
    let found: BTreeSet<&str> = methods.iter().map(|method| method.name.as_str()).collect();
    let listed: BTreeSet<&str> = METHODS.iter().map(|(method, _)| *method).collect();
    assert_eq!(found, listed, "the sources, and the table");
    for method in &methods {
        let says = method.docs.contains("# Cancel safety\n");
        assert!(says, "{} does not say what dropping it means", method.name);
    }
    let is_listed = |name: &String| METHODS.iter().any(|(_, scenario)| scenario == name);
    let (explored, failed) = explore_all(5, |(scenario, _, condition, _)| {
        condition.is_empty() && is_listed(&scenario.name)
    });
    assert!(failed.is_empty(), "{failed:?}");
    for &(method, scenario) in METHODS {
        let explored = explored.get(scenario).expect(scenario);
        assert!(explored.dropped.contains(&method), "{scenario}: does not drop {method}");
    }
}

#[test]
fn async_methods_are_recognized() {
    let source = "\
impl<T> Thing<T> {
    /// One.
    ///
    /// # Cancel safety
    #[must_use]
    pub async fn one(&self) {}
    pub fn two<H: Send>(
        &self,
    ) -> impl Future<Output = ()> + use<T> {}
    pub fn three<F>(&self) -> usize
    where
        F: Future {}
    async fn private(&self) {}
    pub(crate) async fn inner(&self) {}
}
/// The docs of the impl.
impl<T: Read<u8>> futures::Sink<Bytes> for Channel<T>
where
    T: Unpin,
{
    fn poll_ready(self) {}
}
impl<T> Stream for Private<T> {
    fn poll_next(self) {}
}
pub async fn alone() {}
pub fn boxed() -> Pin<Box<dyn Future<Output = ()>>> {}
";
    let found = async_methods(source);
    let names: Vec<&str> = found.iter().map(|method| method.name.as_str()).collect();
    assert_eq!(names, ["Thing::one", "Thing::two", "Channel::poll_ready", "alone", "boxed"]);
    assert!(found[0].docs.contains("# Cancel safety\n"));
    assert_eq!((found[1].docs.as_str(), found[2].docs.as_str()), ("", "The docs of the impl.\n"));
}

fn sources(folder: PathBuf) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let each = entries.flat_map(|path| match path.is_dir() {
        true => sources(path),
        false => vec![fs::read_to_string(path).unwrap()],
    });
    each.collect()
}

/// The methods that give a future, and those a channel has of traits, in a source
/// as rustfmt leaves it.
fn async_methods(source: &str) -> Vec<Method> {
    let mut methods = vec![];
    let (mut docs, mut of) = (String::new(), Of::default());
    let lines: Vec<&str> = source.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if let Some(doc) = line.trim().strip_prefix("///") {
            docs += doc.trim_start();
            docs += "\n";
            continue;
        }
        if line.starts_with("impl") {
            of = Of::new(line, std::mem::take(&mut docs));
        } else if *line == "}" {
            of = Of::default();
        } else if let Some((name, is_public)) = async_name(&head(&lines[at..])) {
            if is_public || of.is_trait_of_channel {
                let name = if of.name.is_empty() { name } else { format!("{}::{name}", of.name) };
                let docs = if is_public { &docs } else { &of.docs };
                methods.push(Method { name, docs: docs.clone() });
            }
        }
        if !line.trim().starts_with("#[") {
            docs.clear();
        }
    }
    methods
}

/// What an `impl` is for.
#[derive(Default)]
struct Of {
    name: String,
    is_trait_of_channel: bool,
    docs: String,
}

impl Of {
    fn new(line: &str, docs: String) -> Self {
        let behind_generics = match line.strip_prefix("impl<") {
            Some(generics) => &generics[closing(generics)..],
            None => &line["impl".len()..],
        };
        let (of_trait, of) = match behind_generics.split_once(" for ") {
            Some((_, of)) => (true, of),
            None => (false, behind_generics),
        };
        let name = identifier(of.trim_start());
        Of { is_trait_of_channel: of_trait && name == "Channel", name, docs }
    }
}

/// Where the generics end that have begun.
fn closing(generics: &str) -> usize {
    let mut open = 1;
    let end = generics.find(|c| {
        open += i32::from(c == '<') - i32::from(c == '>');
        open == 0
    });
    end.map_or(generics.len(), |at| at + 1)
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first of these lines up to where the body begins.
fn head(lines: &[&str]) -> String {
    let end = lines.iter().position(|line| line.contains('{') || line.ends_with(';'));
    let head: Vec<&str> = lines[..=end.unwrap_or(0)].iter().map(|line| line.trim()).collect();
    head.join(" ")
}

/// The name of what gives a future or polls, and whether it is public by itself.
fn async_name(head: &str) -> Option<(String, bool)> {
    if let Some(name) = head.strip_prefix("pub async fn ") {
        return Some((identifier(name), true));
    }
    if head.starts_with("fn poll_") {
        return Some((identifier(&head["fn ".len()..]), false));
    }
    let (name, gives) = head.strip_prefix("pub fn ")?.split_once(" -> ")?;
    let gives = gives.split(" where ").next()?;
    gives.contains("Future").then(|| (identifier(name), true))
}
