"""sentence-transformers: it sorts captions by length and pads to the longest of each batch. With the same weights.

Its CLIP is transformers' `CLIPModel`, so the checkpoint's text tower is renamed into one, with a small image tower that
nobody runs, and the words of open_clip's tokenizer are written in the form that transformers reads. Its default batch
of 32 captions is one system, a batch of 256 another. It computes in float32; a third system is given torch's autocast
to bfloat16 by hand.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import sentence_transformers
import torch
import transformers
from rounds import Encode, serve
from sentence_transformers import SentenceTransformer

SYSTEMS = ((32, "fp32"), (256, "fp32"), (256, "bf16"))


def prepare(job: dict[str, Any]) -> tuple[dict[str, Encode], dict[str, str]]:
    """Write the checkpoint as a folder of transformers' CLIP, and open it."""
    torch.set_num_threads(job["threads"])
    folder = Path(job["folder"]) / f"transformers-{job['architecture']}"
    if not (folder / "config.json").exists():
        write_model(job["architecture"], torch.load(job["checkpoint"], weights_only=True), folder)
    model = SentenceTransformer(modules=[_clip_module(folder)], device=job["device"])

    def encode_with(batch: int, precision: str) -> Encode:
        def encode() -> tuple[list[str] | None, np.ndarray]:
            options = {"batch_size": batch, "normalize_embeddings": True, "show_progress_bar": False}
            with torch.autocast(job["device"], torch.bfloat16, enabled=precision == "bf16"):
                return None, model.encode(job["captions"], **options)

        return encode

    systems = {
        f"sentence-transformers, batch {batch}, {precision}": encode_with(batch, precision)
        for batch, precision in SYSTEMS
        if precision in job["precisions"]
    }
    versions = {"sentence-transformers": sentence_transformers.__version__, "transformers": transformers.__version__}
    return systems, versions


def _clip_module(folder: Path) -> Any:
    from sentence_transformers.models import CLIPModel

    return CLIPModel(str(folder))


def write_model(architecture: str, weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Save the text tower of an open_clip checkpoint as transformers' CLIP, with tokenizer and pixel settings."""
    config = open_clip.get_model_config(architecture)
    text = config["text_cfg"]
    width = text["width"]
    clip = transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config={
                "vocab_size": text["vocab_size"],
                "hidden_size": width,
                "intermediate_size": int(width * text.get("mlp_ratio", 4.0)),
                "num_hidden_layers": text["layers"],
                "num_attention_heads": text["heads"],
                "max_position_embeddings": text["context_length"],
                "hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu",
                "projection_dim": config["embed_dim"],
                "bos_token_id": text["vocab_size"] - 2,
                "eos_token_id": text["vocab_size"] - 1,
            },
            vision_config={
                "hidden_size": 64,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
            },
            projection_dim=config["embed_dim"],
        )
    )
    missing, unexpected = clip.load_state_dict(text_weights(weights, text["layers"]), strict=False)
    lost = [name for name in missing if not name.startswith(("vision", "visual", "logit"))]
    if lost or unexpected:
        raise ValueError(f"not the text tower of {architecture}: {lost[:3]} lacking, {unexpected[:3]} unknown")
    clip.save_pretrained(folder)
    write_tokenizer(folder, text["context_length"])
    transformers.CLIPImageProcessor().save_pretrained(folder)


def text_weights(weights: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """open_clip's names to transformers' names; queries, keys and values are one matrix there and three here."""
    ours = {
        "text_model.embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": weights["positional_embedding"],
        "text_model.final_layer_norm.weight": weights["ln_final.weight"],
        "text_model.final_layer_norm.bias": weights["ln_final.bias"],
        "text_projection.weight": weights["text_projection"].T.contiguous(),
    }
    renamed = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    renamed["attn.out_proj"] = "self_attn.out_proj"
    for layer in range(layers):
        here, there = f"transformer.resblocks.{layer}.", f"text_model.encoder.layers.{layer}."
        for kind in ("weight", "bias"):
            for old, new in renamed.items():
                ours[f"{there}{new}.{kind}"] = weights[f"{here}{old}.{kind}"]
            three = weights[f"{here}attn.in_proj_{kind}"].chunk(3)
            for name, part in zip("qkv", three, strict=True):
                ours[f"{there}self_attn.{name}_proj.{kind}"] = part.contiguous()
    return ours


def write_tokenizer(folder: Path, context: int) -> None:
    """open_clip's words and merges as transformers reads them: the same numbers for the same pieces."""
    bpe = open_clip.tokenizer.SimpleTokenizer()
    words = {piece.replace("<start_of_text>", "<|startoftext|>"): number for piece, number in bpe.encoder.items()}
    words["<|endoftext|>"] = words.pop("<end_of_text>")
    (folder / "vocab.json").write_text(json.dumps(words, ensure_ascii=False), "utf-8")
    merges = [" ".join(pair) for pair in sorted(bpe.bpe_ranks, key=bpe.bpe_ranks.__getitem__)]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")
    files = {"vocab_file": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}
    loaded = transformers.CLIPTokenizer.from_pretrained(folder, **files, model_max_length=context)
    loaded.save_pretrained(folder)


if __name__ == "__main__":
    serve(prepare)
