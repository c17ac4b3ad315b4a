//! SVG whose ink takes the colour of the page's text, so that one picture suits every theme.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// plotters counts whole pixels: drawn this much larger, a curve has no stairs.
pub const ZOOM: u32 = 10;
/// Stands for the text's colour until the picture is written.
pub const INK: RGBColor = RGBColor(1, 1, 1);

/// The colours, dark and light enough to be read on white and on black.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// First.
    Blue,
    /// Second.
    Orange,
    /// Third.
    Green,
    /// Fourth.
    Purple,
    /// For what is only a comparison.
    Grey,
}

impl Colour {
    /// In their order.
    pub const ALL: [Self; 5] = [
        Self::Blue,
        Self::Orange,
        Self::Green,
        Self::Purple,
        Self::Grey,
    ];

    /// As plotters wants it.
    pub fn rgb(self) -> RGBColor {
        match self {
            Self::Blue => RGBColor(0x1f, 0x83, 0xc4),
            Self::Orange => RGBColor(0xd9, 0x5f, 0x02),
            Self::Green => RGBColor(0x1b, 0x96, 0x6e),
            Self::Purple => RGBColor(0x9a, 0x6f, 0xc8),
            Self::Grey => RGBColor(0x80, 0x80, 0x80),
        }
    }

    /// As CSS wants it.
    pub fn css(self) -> String {
        let RGBColor(r, g, b) = self.rgb();
        format!("#{r:02X}{g:02X}{b:02X}")
    }
}

/// How a curve is drawn: colour alone must not carry the meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stroke {
    /// ——
    Solid,
    /// – –
    Dashed,
    /// ···
    Dotted,
    /// Points, not joined.
    Dots,
    /// Larger points, behind dots.
    Discs,
    /// An arrow from each point to the next one, in pairs.
    Arrows,
}

impl Stroke {
    /// A style that shows it in a key.
    pub fn css(self, colour: Colour) -> String {
        let line = match self {
            Self::Solid | Self::Arrows => "solid",
            Self::Dashed => "dashed",
            Self::Dotted => "dotted",
            Self::Dots | Self::Discs => {
                let size = if self == Self::Dots { "0.5em" } else { "0.8em" };
                let disc = format!("width:{size};height:{size};border-radius:50%");
                return format!("{disc};background:{}", colour.css());
            }
        };
        format!("border-top:3px {line} {}", colour.css())
    }

    /// Lengths of strokes and gaps; none for an unbroken line.
    fn dashes(self) -> Option<&'static str> {
        match self {
            Self::Dashed => Some("80 50"),
            Self::Dotted => Some("20 45"),
            Self::Solid | Self::Dots | Self::Discs | Self::Arrows => None,
        }
    }

    /// A colour that no one else uses, to be replaced by the real one and the dashes.
    pub fn marked(self, colour: Colour) -> RGBColor {
        let hue = Colour::ALL.iter().position(|c| *c == colour);
        let hue = hue.and_then(|k| u8::try_from(k).ok()).unwrap_or_default();
        match self {
            Self::Dashed => RGBColor(2, 1, hue),
            Self::Dotted => RGBColor(2, 2, hue),
            Self::Solid | Self::Dots | Self::Discs | Self::Arrows => colour.rgb(),
        }
    }
}

/// What is drawn on.
pub type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// What `on` draws, as one line of SVG for a page: no background, no size of its own, ink of the text's colour.
pub fn draw(size: (u32, u32), alt: &str, on: impl FnOnce(&Canvas) -> Result<()>) -> Result<String> {
    let (width, height) = (size.0 * ZOOM, size.1 * ZOOM);
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, (width, height)).into_drawing_area();
        on(&root)?;
        root.present().map_err(drawing)?;
    }
    let (_, body) = picture
        .split_once('>')
        .ok_or_else(|| anyhow!("plotters wrote no SVG"))?;
    let alt = escaped(alt);
    let head = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{alt}\"><title>{alt}</title>"
    );
    let mut body: String = body.lines().map(str::trim).collect();
    for colour in Colour::ALL {
        for stroke in [Stroke::Dashed, Stroke::Dotted] {
            let RGBColor(r, g, b) = stroke.marked(colour);
            let dashes = stroke.dashes().unwrap_or_default();
            body = body.replace(
                &format!("stroke=\"#{r:02X}{g:02X}{b:02X}\""),
                &format!("stroke=\"{}\" stroke-dasharray=\"{dashes}\"", colour.css()),
            );
        }
    }
    let RGBColor(r, g, b) = INK;
    Ok(head + &body.replace(&format!("#{r:02X}{g:02X}{b:02X}"), "currentColor"))
}

/// Text inside markup.
pub fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            _ => safe.push(c),
        }
    }
    safe
}

/// What plotters said.
pub fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
