"""Several modalities at once: `accelerate launch pretrain/multimodal.py [--config NAME] [--optim.lr …]`.

With no arguments it trains on ECG and PPG of a synthetic twin, which it makes first where it is not there yet.
"""

from biofm.pretrain.multimodal_run import main

if __name__ == "__main__":
    main()
