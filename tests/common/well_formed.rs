//! What every report must satisfy: well-formed, alone, and running nothing of its data.

use roxmltree::{Document, ParsingOptions};

/// The first fault of a page.
pub fn check(html: &str) -> Result<(), String> {
    let options = ParsingOptions { allow_dtd: true, nodes_limit: u32::MAX, ..ParsingOptions::default() };
    let page = Document::parse_with_options(html, options).map_err(|error| error.to_string())?;
    let mut ids = std::collections::HashSet::new();
    for node in page.descendants().filter(roxmltree::Node::is_element) {
        for attribute in node.attributes() {
            if attribute.name() == "id" && !ids.insert(attribute.value()) {
                return Err(format!("the id {} is there twice", attribute.value()));
            }
            let value = attribute.value();
            if matches!(attribute.name(), "href" | "src") && !value.starts_with('#') {
                return Err(format!("the page refers to {value}"));
            }
            if attribute.name().starts_with("on") {
                return Err(format!("the page runs {value}"));
            }
        }
    }
    let scripts =
        page.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/1999/xhtml", "script")));
    match scripts.count() {
        1 => Ok(()),
        count => Err(format!("{count} scripts")),
    }
}
