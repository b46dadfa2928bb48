"""Masked autoencoding of several modalities: `accelerate launch pretrain/multimodal_mae.py [--config NAME] …`.

With no arguments it trains on ECG and PPG of a synthetic twin, which it makes first where it is not there yet.
"""

from biofm.pretrain.multimodal_mae_run import main

if __name__ == "__main__":
    main()
