"""What a frozen encoder is worth: `accelerate launch finetune/linear_probe.py RUN/best --shards … --task …`."""

from biofm.finetune.probe import main

if __name__ == "__main__":
    main()
