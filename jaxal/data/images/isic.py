SKIN_CLASSES_2019 = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
COLUMNS_2019 = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")
INPUT_2019 = "ISIC_2019_Training_Input"
TRUTH_2019 = "ISIC_2019_Training_GroundTruth.csv"
METADATA_2019 = "ISIC_2019_Training_Metadata.csv"
