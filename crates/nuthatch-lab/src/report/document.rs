//! A document of headings, paragraphs, tables and figures: written as Markdown with the figures in
//! files beside it, and as one HTML file that has everything in it.

use crate::svg::GREY_TEXT;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use std::fmt::Write as _;

/// Where the figures of the Markdown are.
const FIGURES: &str = "charts";
/// How the HTML looks; it needs nothing else.
const STYLE: &str = include_str!("style.css");

/// A document.
#[derive(Clone, Debug)]
pub struct Document {
    title: String,
    markdown: String,
    figures: Vec<Figure>,
}

/// A picture in it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its file's name, without the ending.
    pub name: String,
    /// What it shows, for those who do not see it.
    pub title: String,
    /// The picture.
    pub svg: String,
}

impl Document {
    /// One with this title.
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            markdown: format!("# {title}\n"),
            figures: Vec::new(),
        }
    }

    /// A chapter.
    pub fn chapter(&mut self, heading: &str) {
        self.add(&format!("## {heading}"));
    }

    /// A section of it.
    pub fn section(&mut self, heading: &str) {
        self.add(&format!("### {heading}"));
    }

    /// A paragraph, or anything else that Markdown knows.
    pub fn text(&mut self, text: &str) {
        self.add(text);
    }

    /// A list.
    pub fn list(&mut self, items: &[String]) {
        let items: Vec<_> = items.iter().map(|item| format!("- {item}")).collect();
        self.add(&items.join("\n"));
    }

    /// A picture, the sentence that says what it shows, and the command that made it.
    pub fn figure(&mut self, figure: Figure, reading: &str, command: Option<&str>) {
        self.add(&format!(
            "![{}]({FIGURES}/{}.svg)",
            figure.title, figure.name
        ));
        self.add(reading);
        if let Some(command) = command {
            self.add(&format!("```sh\n{command}\n```"));
        }
        self.figures.push(figure);
    }

    /// A table; columns of numbers are set flush right.
    pub fn table(&mut self, columns: &[&str], rows: &[Vec<String>]) {
        let rule = (0..columns.len()).map(|column| {
            let mut cells = rows.iter().filter_map(|row| row.get(column));
            if cells.all(|cell| is_number(cell)) {
                "---:"
            } else {
                "---"
            }
        });
        let rule: Vec<_> = rule.collect();
        let mut text = format!("| {} |\n| {} |\n", columns.join(" | "), rule.join(" | "));
        for row in rows {
            let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            writeln!(text, "| {} |", cells.join(" | ")).expect("a text takes more");
        }
        self.add(text.trim_end());
    }

    fn add(&mut self, block: &str) {
        self.markdown += "\n";
        self.markdown += block;
        self.markdown += "\n";
    }

    /// The document as Markdown.
    pub fn markdown(&self) -> &str {
        &self.markdown
    }

    /// The pictures, and where the Markdown looks for them.
    pub fn files(&self) -> impl Iterator<Item = (String, &str)> {
        let path = |figure: &Figure| format!("{FIGURES}/{}.svg", figure.name);
        self.figures
            .iter()
            .map(move |figure| (path(figure), figure.svg.as_str()))
    }

    /// The directory of the pictures, beside the Markdown.
    pub fn directory() -> &'static str {
        FIGURES
    }

    /// The document as one HTML file, pictures included.
    pub fn html(&self) -> String {
        let mut body = String::new();
        let events: Vec<_> = Parser::new_ext(&self.markdown, Options::ENABLE_TABLES).collect();
        html::push_html(&mut body, self.with_pictures(events).into_iter());
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
            self.title
        )
    }

    /// Puts pictures where Markdown names their files, headings' anchors where a list of contents
    /// can point, and wide tables where they can be scrolled.
    fn with_pictures<'a>(&self, events: Vec<Event<'a>>) -> Vec<Event<'a>> {
        let mut output = Vec::with_capacity(events.len());
        let mut in_picture = false;
        for event in events {
            match event {
                Event::Start(Tag::Image { dest_url, .. }) => {
                    in_picture = true;
                    output.push(self.picture(&dest_url));
                }
                Event::End(TagEnd::Image) => in_picture = false,
                // The picture itself says what it shows.
                _ if in_picture => {}
                Event::Start(Tag::Table(columns)) => {
                    output.push(Event::Html(CowStr::Borrowed("<div class=\"wide\">")));
                    output.push(Event::Start(Tag::Table(columns)));
                }
                Event::End(TagEnd::Table) => {
                    output.push(Event::End(TagEnd::Table));
                    output.push(Event::Html(CowStr::Borrowed("</div>\n")));
                }
                event => output.push(event),
            }
        }
        output
    }

    fn picture(&self, path: &str) -> Event<'static> {
        let mut figures = self.figures.iter();
        let figure = figures.find(|figure| path == format!("{FIGURES}/{}.svg", figure.name));
        let figure = figure.expect("every picture was added with its text");
        let svg = figure.svg.replace(GREY_TEXT, "currentColor");
        let label = figure
            .title
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;");
        let svg = svg.replacen(
            "<svg ",
            &format!("<svg role=\"img\" aria-label=\"{label}\" "),
            1,
        );
        Event::InlineHtml(CowStr::from(svg))
    }
}

/// Whether a cell holds a number, perhaps with a unit and marked.
fn is_number(cell: &str) -> bool {
    let plain = cell.trim_matches('*');
    let starts =
        |cell: &str| cell.starts_with(|first: char| first.is_ascii_digit() || "+-".contains(first));
    plain.is_empty() || (starts(plain) && plain.split_whitespace().count() <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Document {
        let mut document = Document::new("Caches");
        document.chapter("Locks");
        let figure = Figure {
            name: "lock".to_owned(),
            title: "reads <by> threads".to_owned(),
            svg: format!("<svg width=\"1\"><text fill=\"{GREY_TEXT}\">a</text></svg>"),
        };
        document.figure(figure, "It *rises*.", Some("nuthatch-lab throughput"));
        document.table(
            &["cache", "M ops/s"],
            &[vec!["a|b".to_owned(), "**3**".to_owned()]],
        );
        document
    }

    #[test]
    fn markdown_names_the_files_of_its_pictures() {
        let document = sample();
        assert!(
            document
                .markdown()
                .contains("![reads <by> threads](charts/lock.svg)")
        );
        let files: Vec<_> = document.files().map(|(path, _)| path).collect();
        assert_eq!(files, ["charts/lock.svg"]);
    }

    #[test]
    fn html_has_its_pictures_inside_and_refers_to_nothing_outside() {
        let html = sample().html();
        assert!(html.contains("<svg role=\"img\" aria-label=\"reads &lt;by>"));
        assert!(html.contains("fill=\"currentColor\""));
        assert!(html.contains("<strong>3</strong>") && html.contains("a|b"));
        for outside in ["http", "<img", "src=", "@import"] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    }
}
