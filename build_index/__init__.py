"""The offline builder: captions in, shards and a search index out."""
