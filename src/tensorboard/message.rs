//! The part of TensorFlow's event protocol that is written: scalars, images, texts, starts.
//!
//! Names and field numbers are those of `event.proto`, `summary.proto` and `tensor.proto`; what is left at its
//! default is not encoded, as proto3 has it.

use prost::{Message, Oneof};

/// Content of an event file's first event.
pub const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;
/// `DataType.DT_STRING`.
const STRING: i32 = 7;

/// One record of an event file.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Steps done.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What happened.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// Content of an event.
#[derive(Clone, PartialEq, Oneof)]
pub enum What {
    /// The first event of a file.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// Values at a step.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A start: what was recorded at this step and later is void.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Values at a step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// One value.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// Its name; what stands before the first `/` groups it.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// What it is.
    #[prost(oneof = "Content", tags = "2, 4, 8")]
    pub content: Option<Content>,
    /// Which part of TensorBoard shows it, where the content does not say.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<Metadata>,
}

/// A value's content.
#[derive(Clone, PartialEq, Oneof)]
pub enum Content {
    /// A scalar.
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    /// An encoded image.
    #[prost(message, tag = "4")]
    Image(Image),
    /// A tensor.
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

/// An encoded image.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// Pixels.
    #[prost(int32, tag = "1")]
    pub height: i32,
    /// Pixels.
    #[prost(int32, tag = "2")]
    pub width: i32,
    /// Number of channels.
    #[prost(int32, tag = "3")]
    pub colorspace: i32,
    /// PNG.
    #[prost(bytes = "vec", tag = "4")]
    pub encoded: Vec<u8>,
}

/// A tensor of strings.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// `DT_STRING`.
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    /// Its axes.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
    /// Its elements.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub strings: Vec<Vec<u8>>,
}

/// Axes of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    /// The axes.
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dim>,
}

/// One axis.
#[derive(Clone, PartialEq, Message)]
pub struct Dim {
    /// Its length.
    #[prost(int64, tag = "1")]
    pub size: i64,
}

/// How a value is shown.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    /// The part of TensorBoard that shows it.
    #[prost(message, optional, tag = "1")]
    pub plugin: Option<Plugin>,
}

/// A part of TensorBoard.
#[derive(Clone, PartialEq, Message)]
pub struct Plugin {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// A start of a run, the first or a later one.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// `START`.
    #[prost(int32, tag = "1")]
    pub status: i32,
}

impl Event {
    /// The first event of a file.
    pub fn version(wall_time: f64) -> Self {
        Self {
            wall_time,
            step: 0,
            what: Some(What::FileVersion(FILE_VERSION.to_owned())),
        }
    }

    /// A run begins with `step`, or goes on with it: what was recorded at `step` and later is about to be recorded again.
    pub fn start(wall_time: f64, step: i64) -> Self {
        Self {
            wall_time,
            step,
            what: Some(What::SessionLog(SessionLog { status: START })),
        }
    }

    /// Values at a step.
    pub fn values(wall_time: f64, step: i64, value: Vec<Value>) -> Self {
        Self {
            wall_time,
            step,
            what: Some(What::Summary(Summary { value })),
        }
    }
}

impl Value {
    /// A number.
    pub fn scalar(tag: String, value: f32) -> Self {
        Self {
            tag,
            content: Some(Content::SimpleValue(value)),
            metadata: None,
        }
    }

    /// An RGB picture.
    pub fn image(tag: &str, (width, height): (i32, i32), png: Vec<u8>) -> Self {
        let image = Image {
            height,
            width,
            colorspace: 3,
            encoded: png,
        };
        Self {
            tag: tag.to_owned(),
            content: Some(Content::Image(image)),
            metadata: None,
        }
    }

    /// Markdown.
    pub fn text(tag: &str, markdown: String) -> Self {
        let tensor = Tensor {
            dtype: STRING,
            shape: Some(Shape {
                dim: vec![Dim { size: 1 }],
            }),
            strings: vec![markdown.into_bytes()],
        };
        let plugin = Plugin {
            name: "text".to_owned(),
        };
        Self {
            tag: tag.to_owned(),
            content: Some(Content::Tensor(tensor)),
            metadata: Some(Metadata {
                plugin: Some(plugin),
            }),
        }
    }
}
