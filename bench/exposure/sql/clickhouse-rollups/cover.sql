SELECT subject, classes FROM {table} WHERE integration IN ({integrations}) AND ({ranges})
