//! The files of the page, which are part of the program.

use std::sync::OnceLock;

use miniz_oxide::deflate::compress_to_vec_zlib;

/// The level of compression, of 10. Higher ones make the page smaller by less than 1 %.
const LEVEL: u8 = 6;

/// A file that a browser may request.
#[derive(Debug)]
pub(super) struct File {
    path: &'static str,
    kind: &'static str,
    pub(super) body: &'static [u8],
    deflated: OnceLock<Vec<u8>>,
}

const fn file(path: &'static str, kind: &'static str, body: &'static [u8]) -> File {
    File {
        path,
        kind,
        body,
        deflated: OnceLock::new(),
    }
}

/// Returns a script of the page.
macro_rules! script {
    ($name:literal) => {
        file(
            concat!("/", $name),
            "text/javascript",
            include_bytes!(concat!("page/", $name)),
        )
    };
}

static FILES: [File; 11] = [
    file("/", "text/html", include_bytes!("page/index.html")),
    file("/style.css", "text/css", include_bytes!("page/style.css")),
    script!("frame.js"),
    script!("timing.js"),
    script!("dialect.js"),
    script!("people.js"),
    script!("words.js"),
    script!("browser.js"),
    script!("page.js"),
    script!("clock.js"),
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
    /// Returns the body in the coding `deflate` (RFC 9110 section 8.4.1.2). It is made only once.
    pub(super) fn deflated(&self) -> &[u8] {
        self.deflated
            .get_or_init(|| compress_to_vec_zlib(self.body, LEVEL))
    }

    /// Returns the entity tag: a hash of the contents (FNV-1a). It is weak, because it is the same in each
    /// coding.
    pub(super) fn tag(&self) -> String {
        let hash = self
            .body
            .iter()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3)
            });
        format!("W/\"{hash:016x}\"")
    }

    /// Returns the fields of an answer with this file.
    pub(super) fn fields(&self) -> String {
        format!(
            "Content-Type: {}; charset=utf-8\r\nCache-Control: no-cache\r\nVary: Accept-Encoding\r\n\
             ETag: {}\r\n",
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
        let sent: usize = FILES.iter().map(|file| file.deflated().len()).sum();
        assert!(
            bytes <= 70_000 && sent <= 25_000,
            "{bytes} bytes, {sent} sent"
        );
        for file in &FILES {
            let text = core::str::from_utf8(file.body).unwrap();
            let foreign = text.match_indices("://").filter(|(at, _)| {
                !text[..*at].ends_with("${scheme}") && !text[at + 3..].starts_with("www.w3.org/")
            });
            assert_eq!(foreign.count(), 0, "{}", file.path);
        }
    }
}
