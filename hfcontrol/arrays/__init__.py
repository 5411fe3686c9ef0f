"""Where numbers live: device, threads, files, random streams and linear algebra."""
