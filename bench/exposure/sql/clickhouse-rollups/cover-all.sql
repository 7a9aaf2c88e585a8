SELECT subject, classes FROM {table} WHERE {ranges}
