//! Which files of a dataset's repository are tables, by their names: what they hold is seen only
//! once they are here.

/// A kind of table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    Parquet,
    /// Lines or an array.
    Json,
    /// Values between commas, or tabs.
    Csv,
}

impl TableFormat {
    /// The format that a file's name tells; it may be compressed.
    pub fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        let plain = [".gz", ".zst"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        match plain.unwrap_or(&name).rsplit_once('.')?.1 {
            "parquet" => Some(Self::Parquet),
            "jsonl" | "ndjson" | "json" => Some(Self::Json),
            "csv" | "tsv" => Some(Self::Csv),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_by_name() {
        assert_eq!(TableFormat::of("a/b.PARQUET"), Some(TableFormat::Parquet));
        assert_eq!(TableFormat::of("a.b/c"), None);
        assert_eq!(TableFormat::of("a.jsonl"), Some(TableFormat::Json));
        assert_eq!(TableFormat::of("a.tsv"), Some(TableFormat::Csv));
        assert_eq!(TableFormat::of("a.jsonl.gz"), Some(TableFormat::Json));
        assert_eq!(TableFormat::of("a.csv.zst"), Some(TableFormat::Csv));
        assert_eq!(TableFormat::of("a.zip"), None);
        assert_eq!(TableFormat::of("a.gz"), None);
    }
}
