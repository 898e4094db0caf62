"""A plain Hugging Face `Trainer` script, with nothing of Paceline in it: a small BERT learns whether a sequence has a 7.

torchrun --nproc-per-node 2 hf_trainer.py
"""

import torch
from torch.utils.data import TensorDataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

LENGTH, VOCABULARY, SAMPLES = 16, 50, 4000


def data(seed: int, count: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCABULARY, (count, LENGTH), generator=generator)
    return TensorDataset(tokens, (tokens == 7).any(1).long())


def collate(rows: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.stack([r[0] for r in rows]), "labels": torch.stack([r[1] for r in rows])}


def main() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=LENGTH,
    )  # fmt: skip
    arguments = TrainingArguments(
        output_dir="/tmp/hf-output", num_train_epochs=4, per_device_train_batch_size=16, learning_rate=3e-3,
        logging_steps=10, save_strategy="no", use_cpu=not torch.cuda.is_available(), disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=BertForSequenceClassification(config),
        args=arguments,
        train_dataset=data(1, SAMPLES),
        data_collator=collate,
    )
    trainer.train()


if __name__ == "__main__":
    main()
