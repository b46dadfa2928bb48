"""JEPA, prediction of the tokens of hidden blocks: `accelerate launch pretrain/jepa.py [--config NAME] …`.

With no arguments it trains on the synthetic twin, which it makes first where it is not there yet.
"""

from biofm.pretrain.jepa_run import main

if __name__ == "__main__":
    main()
