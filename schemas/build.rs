//! Compiles `proto/bidstream.proto`, without a system `protoc`, into Rust types that are written as JSON as well.

use std::error::Error;

use protox::prost_reflect::prost_types::FieldDescriptorProto;
use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(["bidstream.proto"], ["proto"])?;
    let mut config = prost_build::Config::new();
    for file in &files.file {
        for message in &file.message_type {
            let name = format!("{}.{}", file.package(), message.name());
            config.message_attribute(&name, "#[derive(serde::Serialize)]");
            for field in &message.field {
                config.field_attribute(format!("{name}.{}", field.name()), json(field));
            }
        }
    }
    config.compile_fds(files)?;
    Ok(())
}

/// How JSON spells a field. What is absent is left out.
fn json(field: &FieldDescriptorProto) -> &'static str {
    match (field.label(), field.r#type()) {
        (Label::Repeated, _) => r#"#[serde(skip_serializing_if = "Vec::is_empty")]"#,
        (_, Type::Enum) => r#"#[serde(serialize_with = "super::kind")]"#,
        (_, Type::String) => r#"#[serde(skip_serializing_if = "String::is_empty")]"#,
        (_, Type::Int64) => r#"#[serde(skip_serializing_if = "Option::is_none")]"#,
        (_, other) => panic!("the JSON form of {other:?} is not defined"),
    }
}
