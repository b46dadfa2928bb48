"""Supervised learning of tasks: `accelerate launch finetune/finetune.py --model RUN/best --shards … --tasks …`."""

from biofm.finetune.finetune_run import main

if __name__ == "__main__":
    main()
