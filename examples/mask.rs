//! An interceptor: fields of JSON values are masked before they are in the log; what is no JSON is refused.
//!
//! `cargo run --example mask`, then what it prints.

use ottla::runtime::Failure;
use ottla::{Intercepted, Interceptor, Node, On, Verdict, Way};
use serde_json::Value;

pub struct Mask(Vec<String>);

impl Interceptor for Mask {
    const ON: On = On::Produce;
    /// The names of the fields.
    type Args = Vec<String>;

    fn start(fields: Vec<String>) -> Result<Self, Failure> {
        Ok(Mask(fields))
    }

    fn record(&mut self, _way: &Way, record: &mut Intercepted) -> Verdict {
        let Some(value) = &record.value else { return Verdict::Pass };
        match serde_json::from_slice(value) {
            Ok(mut json) => {
                self.mask(&mut json);
                record.value = Some(json.to_string().into());
                Verdict::Pass
            }
            Err(error) => Verdict::Reject(format!("the value is no JSON: {error}")),
        }
    }
}

impl Mask {
    fn mask(&self, json: &mut Value) {
        match json {
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(name, value)| match self.0.contains(name) {
                    true => *value = "***".into(),
                    false => self.mask(value),
                })
            }
            Value::Array(all) => all.iter_mut().for_each(|value| self.mask(value)),
            _ => {}
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let node = Node::builder().quick("mask-data", &listen, &[]);
    let node = node.intercept::<Mask>("people", vec!["iban".to_owned()]).start().await?;
    println!("echo '{{\"name\": \"Ada\", \"iban\": \"DE02\"}}' | kcat -b {listen} -t people -P");
    println!("kcat -b {listen} -t people -C -e");
    node.ended().await;
    Ok(())
}
