"""What a person looks at: figures of cases, animations, the analysis of a data set."""
