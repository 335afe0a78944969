//! QR codes, for a browser and for a terminal.

use core::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// Light modules around a code. The standard wants four; readers manage with two, and a terminal has few
/// lines.
const MARGIN: usize = 2;

/// A code as rows of modules, with a margin.
struct Modules {
    width: usize,
    dark: Vec<bool>,
}

impl Modules {
    /// Returns the code of a text, or `None` if it is too long.
    fn of(text: &str, margin: usize) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        let inner = code.width();
        let width = inner + 2 * margin;
        let mut dark = vec![false; width * width];
        for (index, color) in code.into_colors().into_iter().enumerate() {
            let (row, column) = (index / inner, index % inner);
            dark[(row + margin) * width + column + margin] = color == Color::Dark;
        }
        Some(Self { width, dark })
    }

    fn is_dark(&self, row: usize, column: usize) -> bool {
        self.dark.get(row * self.width + column) == Some(&true)
    }
}

/// Returns an SVG image of an address, whose title is the address. A text that is too long has an empty
/// image.
pub(super) fn svg(address: &str) -> String {
    let modules = Modules::of(address, 4);
    let width = modules.as_ref().map_or(0, |modules| modules.width);
    let mut path = String::new();
    for row in 0..width {
        for column in 0..width {
            if modules.as_ref().is_some_and(|it| it.is_dark(row, column)) {
                // writing to a string does not fail
                let _ = write!(path, "M{column} {row}h1v1h-1z");
            }
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {width}\" \
         shape-rendering=\"crispEdges\"><title>{address}</title>\
         <path fill=\"#fff\" d=\"M0 0h{width}v{width}H0z\"/><path d=\"{path}\"/></svg>"
    )
}

/// Returns the code of an address for a terminal, two rows of modules in each line, black on white whatever
/// the terminal's colours are.
pub(super) fn terminal(address: &str) -> Option<String> {
    let modules = Modules::of(address, MARGIN)?;
    let mut lines = String::new();
    for row in (0..modules.width).step_by(2) {
        lines.push_str("    \x1b[30;47m");
        for column in 0..modules.width {
            let halves = (
                modules.is_dark(row, column),
                modules.is_dark(row + 1, column),
            );
            lines.push(match halves {
                (false, false) => ' ',
                (true, false) => '▀',
                (false, true) => '▄',
                (true, true) => '█',
            });
        }
        lines.push_str("\x1b[0m\n");
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_takes_15_lines_of_a_terminal() {
        let lines = terminal("http://192.168.1.5:10888/").unwrap();
        assert_eq!(lines.lines().count(), 15);
        assert!(terminal(&"x".repeat(3000)).is_none());
    }

    #[test]
    fn the_image_of_an_address_can_be_read() {
        let address = "http://192.168.100.200:10888/";
        let modules = Modules::of(address, 4).unwrap();
        let scale = 4;
        let size = modules.width * scale;
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(size, size, |x, y| {
            if modules.is_dark(y / scale, x / scale) {
                0
            } else {
                255
            }
        });
        let found = image.detect_grids();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].decode().unwrap().1, address);
        assert!(svg(address).contains("<title>http://192.168.100.200:10888/</title>"));
    }
}
