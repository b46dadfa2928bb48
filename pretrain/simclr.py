"""SimCLR, contrast between two views of a window: `accelerate launch pretrain/simclr.py [--config NAME] …`.

With no arguments it trains on the synthetic twin, which it makes first where it is not there yet.
"""

from biofm.pretrain.simclr_run import main

if __name__ == "__main__":
    main()
