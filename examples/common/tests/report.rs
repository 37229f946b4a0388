//! What is said of an error.

use example_common::with_causes;
use std::error::Error;
use std::fmt;

#[derive(Debug)]
struct Caused(&'static str, Option<Box<Caused>>);

impl fmt::Display for Caused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Caused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as &dyn Error)
    }
}

#[test]
fn with_causes_writes_each_cause_once() {
    let refused = || Some(Box::new(Caused("refused", None)));
    for (error, text) in [
        (Caused("no answer", None), "no answer"),
        (Caused("no answer", refused()), "no answer: refused"),
        (Caused("no answer: refused", refused()), "no answer: refused"),
        (
            Caused("no list", Some(Box::new(Caused("no answer", refused())))),
            "no list: no answer: refused",
        ),
    ] {
        assert_eq!(with_causes(&error), text);
    }
}
