"""Pictures in, outlined and named regions out: the only place where segments and captions meet."""
