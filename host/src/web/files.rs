//! The files of the page, which are part of the program.

/// A file that a browser may request.
#[derive(Debug)]
pub(super) struct File {
    path: &'static str,
    kind: &'static str,
    pub(super) body: &'static [u8],
}

const fn file(path: &'static str, kind: &'static str, body: &'static [u8]) -> File {
    File { path, kind, body }
}

static FILES: [File; 6] = [
    file("/", "text/html", include_bytes!("page/index.html")),
    file("/style.css", "text/css", include_bytes!("page/style.css")),
    file(
        "/dialect.js",
        "text/javascript",
        include_bytes!("page/dialect.js"),
    ),
    file(
        "/page.js",
        "text/javascript",
        include_bytes!("page/page.js"),
    ),
    file(
        "/clock.js",
        "text/javascript",
        include_bytes!("page/clock.js"),
    ),
    file(
        "/icon.svg",
        "image/svg+xml",
        include_bytes!("page/icon.svg"),
    ),
];

/// Returns the file of a path.
pub(super) fn find(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

impl File {
    /// Returns the entity tag: a hash of the contents (FNV-1a).
    pub(super) fn tag(&self) -> String {
        let hash = self
            .body
            .iter()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
            });
        format!("\"{hash:016x}\"")
    }

    /// Returns the fields of an answer with this file.
    pub(super) fn fields(&self) -> String {
        format!(
            "Content-Type: {}; charset=utf-8\r\nCache-Control: no-cache\r\nETag: {}\r\n",
            self.kind,
            self.tag()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_names_no_other_host() {
        let bytes: usize = FILES.iter().map(|file| file.body.len()).sum();
        assert!(bytes <= 60_000, "{bytes} bytes");
        for file in &FILES {
            let text = core::str::from_utf8(file.body).unwrap();
            let foreign = text.match_indices("://").filter(|(at, _)| {
                !text[..*at].ends_with("${scheme}") && !text[at + 3..].starts_with("www.w3.org/")
            });
            assert_eq!(foreign.count(), 0, "{}", file.path);
        }
    }
}
