"""Which leads and times a model's answer rests on, as a picture on ECG paper."""
