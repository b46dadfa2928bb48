"""Masked autoencoding of biosignals: `accelerate launch pretrain/mae.py [--config NAME] [--optim.lr …]`.

With no arguments it trains on the synthetic twin, which it makes first where it is not there yet.
"""

from biofm.pretrain.mae_run import main

if __name__ == "__main__":
    main()
