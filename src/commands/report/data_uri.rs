//! Pictures inside a page.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A PNG inside the page.
pub fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(png))
}
